/* recurrent.h: what the kernels of whole sequences and of their gradients share: products with packed
 * weights, the functions of the gates, and how work is shared out.
 *
 * Units are cut into panels. An item is a panel at one step for a block of samples: its sums, and from them
 * at once what the step gives. How many samples a block has depends on the number of threads; no bit of a
 * result does, for each sum is made by one thread, in an order that depends on sizes alone. */
#pragma once

#include "cpu.h"

/* --- Products --------------------------------------------------------------------------------- */

/* Rows of k numbers times panels of `cols` columns, of which one call of the innermost product takes
 * `width`, over at most `deep` of k. */
typedef struct {
    gboolean f64;
    gint64 k, cols, width, deep;
} PanelProduct;

/* cols: whole vectors of every instruction set and dtype, so a multiple of 16. */
PanelProduct panel_product(gboolean f64, gint64 k, gint64 cols);
static inline gint64
panel_bytes(const PanelProduct *p)
{
    return p->k * p->cols * (p->f64 ? (gint64)sizeof(double) : (gint64)sizeof(float));
}
/* Columns first .. first + n - 1 of a panel from rows of w, whose numbers are neighbours; zeros up to
 * first + room. */
void panel_pack_rows(const PanelProduct *p, const void *w, gint64 n, gint64 first, gint64 room,
                     void *panel);
/* n columns from w on, rows w_row apart. */
void panel_pack_columns(const PanelProduct *p, const void *w, gint64 w_row, gint64 n, void *panel);
/* Rows of a product: c = from + a b. Rows of each are so many numbers apart; from_row 0: one row for all.
 * from may be c. */
typedef struct {
    gint64 rows;
    const char *a;
    gint64 a_row;
    const char *from;
    gint64 from_row;
    char *c;
    gint64 c_row;
} PanelRows;

/* What is written after a product, far apart: it is fetched meanwhile. `bytes` of each of so many rows, of
 * so many parts. The rest is where the product has got to, first 0. */
typedef struct {
    const char *at;
    gint64 row; /* bytes from one row to the next */
} PanelTarget;
#define PANEL_TARGETS 6

typedef struct {
    PanelTarget to[PANEL_TARGETS];
    gint parts, part;
    gint64 rows, bytes, row, byte;
} PanelAhead;

/* For the first `cols` of a panel. ahead may be NULL. */
void panel_multiply(const PanelProduct *p, const PanelRows *rows, gint64 cols, const char *panel,
                    PanelAhead *ahead);

/* --- Gates ------------------------------------------------------------------------------------ */

typedef enum { CELL_RNN_TANH, CELL_RNN_RELU, CELL_LSTM, CELL_GRU, N_CELLS } RecurrentCell;
/* Sums that a unit has: gru's n has x's part and h's part apart. */
#define RECURRENT_PARTS 4

/* Some units of some samples at one step. A sample's rows of h, c, out and cells are `hidden` elements
 * apart; those of gates 4 times that, gate after gate. */
typedef struct {
    gint64 rows, units, hidden;
    const void *sums;       /* [rows, parts, width] */
    gint64 sums_row, width; /* from one sample to the next, from one part to the next */
    const void *before;     /* the state before: gru's h, lstm's c */
    void *out, *cells, *gates;
} RecurrentStep;

/* The same on the way back. */
typedef struct {
    gint64 rows, units, hidden;
    /* [rows, width]: what the steps behind give to the gradient of out; what is left of it for the step
     * before, but for the product with the weights */
    void *later;
    gint64 width;
    const void *g, *g_cells;
    gint64 g_cells_row;       /* from one sample to the next; 0: one row for all */
    const void *now, *before; /* rnn's out, gru's; lstm's cells */
    const void *gates;
    void *dc;              /* lstm's, from step to step */
    void *dsums, *dsums_h; /* rows as many times hidden apart as there are gates; dsums_h: gru's */
} RecurrentBack;

typedef void (*RecurrentStepFn)(const RecurrentStep *step);
typedef void (*RecurrentBackFn)(const RecurrentBack *back);

typedef struct {
    gint gates;
    /* Sums of a unit lie in `parts` places. x's product makes those from the first on, of gates in the
     * order of_x; h's those from place h_at on. */
    gint parts, h_at;
    gint64 units; /* of a panel */
    gint of_x[RECURRENT_PARTS], of_h[RECURRENT_PARTS];
    const RecurrentStepFn *step[2]; /* f32, f64; per instruction set */
    const RecurrentBackFn *back[2];
} RecurrentGates;

extern const RecurrentGates recurrent_gates[N_CELLS];
/* Of an operator, not its gradient. */
typedef struct {
    const RecurrentGates *gates;
    gint64 steps, samples, features, hidden;
    gint w;               /* position of w_ih */
    gboolean biases[2];   /* x's, h's */
    gint64 panels, width; /* places times units: sums of a sample in a panel */
} RecurrentSizes;

RecurrentSizes recurrent_sizes(const TnNode *node);
/* What the `width` sums of a panel begin with, f64 for biases of f64, else f32: -0, to which anything may be
 * added, and the biases. in: the node's. */
void recurrent_pack_bias(const RecurrentSizes *sizes, TnDtype dtype, char *const *in, gint64 panel,
                         void *to);

/* Inputs that all gradients have; then gates (not rnn), g, and the gradient of cells (lstm, optional).
 * Outputs: the sums' gradients (gru: x's, then h's), the first state's, the first cell's (lstm). */
enum { RECURRENT_W_HH, RECURRENT_FIRST, RECURRENT_STATES, RECURRENT_AFTER_STATES };

/* Of a gradient. */
typedef struct {
    RecurrentCell cell;
    const RecurrentGates *gates;
    gboolean g_cells; /* has that of cells */
    gint64 steps, samples, hidden;
    gint64 panels, units; /* columns of w_hh: units of a panel */
    gint64 all;           /* sums of a sample */
} RecurrentBackSizes;

RecurrentBackSizes recurrent_back_sizes(const TnNode *node);

/* Of an operator or of its gradient. */
RecurrentCell recurrent_cell(const TnNode *node);
/* All inputs have one dtype; there is something to do, and more than the body is better off with. */
gboolean recurrent_claims(const TnNode *node);
gboolean recurrent_worth(const TnNode *node);
/* The kernels, for f32 and f64. */
gboolean recurrent_prepare(const TnNode *node, TnPrepared *prepared, GError **error);
TnStatus recurrent_run(void *state, const TnRun *run);
gboolean recurrent_grad_prepare(const TnNode *node, TnPrepared *prepared, GError **error);
TnStatus recurrent_grad_run(void *state, const TnRun *run);

/* --- Running ---------------------------------------------------------------------------------- */

typedef struct {
    gint64 panels, samples, block; /* samples of a block */
    gboolean apart;
    gint64 per_chunk;    /* items, where blocks are not apart */
    void (*begin)(void); /* on a thread, before a chunk's items and after them; NULL: nothing */
    void (*end)(void);
} RecurrentGrid;
/* Blocks begin at multiples of `unit` samples. bytes: of all packed weights; cost: multiplications of a
 * sample in an item. For the threads that there are now. */
RecurrentGrid recurrent_grid(gint64 panels, gint64 samples, gint64 unit, gint64 bytes, gint64 cost);

typedef void (*RecurrentItemFn)(gconstpointer job, gint64 t, gint64 panel, gint64 row, gint64 rows);
/* Calls item for all panels and blocks at t = first, first + step … before end. Samples have nothing to do
 * with each other: where there are enough of them, each core can keep all weights and steps are short,
 * blocks go through the steps on their own. Else a step begins when all items of the one before are done. */
TnStatus recurrent_walk(const RecurrentGrid *grid, gint64 first, gint64 end, gint64 step,
                        RecurrentItemFn item, gconstpointer job);
/* Calls item once for each panel. */
TnStatus recurrent_panels(gint64 panels, RecurrentItemFn item, gconstpointer job);
