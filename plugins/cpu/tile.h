/* tile.h: the tile interpreter: an element-wise operator, or a group of them, as a program of
 * vector micro-operations.
 *
 * The output's elements, in row-major order, are cut into tiles that fit the first-level cache; for
 * each tile every micro-operation runs over all its elements. Operands are contiguous memory (an
 * input or output read or written in place), registers (buffers of a tile on the stack) or scalars.
 * Values that do not change along the output, or along a row of it, are computed once, or once a
 * row. Numbers are held in four types and bool; a dtype that is none of them is converted where it
 * is loaded and rounded after every operation, so that a group gives what its operators alone
 * would.
 *
 * A group may hold reductions. Those over the axes of a row part the program into phases: what is summed
 * in one is known in the next, and a row stays in registers, or where it is longer than a tile in a
 * buffer, from phase to phase, so that memory is read and written once. Those over everything or over all
 * rows end the program. All go by the blocks and slices of reduce.c, to the same bits. */
#pragma once

#include "cpu.h"

typedef enum { TILE_F32, TILE_F64, TILE_I64, TILE_U64, TILE_BOOL, TILE_N_TYPES } TileType;

typedef struct TileOp TileOp;
/* out[i] = f(in[0][i], …) for i < n. Inputs whose bit is set in op->scalar have one element. out
 * may be an input. */
typedef void (*TileFn)(void *out, const void *const *in, gint64 n, const TileOp *op);

#define TILE_MAX_ARITY 3
struct TileOp {
    TileFn fn;
    guint16 out, in[TILE_MAX_ARITY]; /* slots */
    guint8 arity, scalar;
    TnDtype dtype; /* of conversions: the one to round to */
    TnDtype from;  /* of conversions: the dtype of the input's memory */
    guint32 row;   /* of spreads: elements that a row has */
};

/* Functions of an operator per type of its operands, each for all instruction sets. */
typedef struct {
    const char *op;
    guint8 arity;
    gboolean to_bool;
    const TileFn *fn[TILE_N_TYPES];
} TileRow;

extern const TileRow tile_f32_rows[], tile_vmath_rows[], tile_f64_rows[], tile_int_rows[];
extern const guint tile_n_f32_rows, tile_n_vmath_rows, tile_n_f64_rows, tile_n_int_rows;
/* The functions of an operator on operands of a type, NULL if there are none. For mod and bit_shift
 * the names are those of variants: mod_floor, mod_trunc, shift_left, shift_right; of gelu: gelu_tanh,
 * gelu_erf, and the same of gelu_grad. */
const TileFn *tile_find(const char *op, TileType type, guint *arity, gboolean *to_bool);

/* Conversion between types of tiles, C's rules; float to integer saturates at 64 bits. */
const TileFn *tile_convert(TileType to, TileType from);
/* Copies (of any type), also from a scalar. */
const TileFn *tile_copy(TileType type);
/* The function that rounds a tile to a dtype, held as before. */
TileFn tile_rounding(TnDtype dtype);
/* out = in, rounded to op->dtype and back. */
void tile_round(void *out, const void *const *in, gint64 n, const TileOp *op);
/* out = in converted to op->dtype (with C's rules) from the compute type `op->from`, then held in
 * its tile type. */
void tile_cast_through(void *out, const void *const *in, gint64 n, const TileOp *op);

/* n elements of memory, `stride` of them apart, into a tile. NULL: of elements that are held as
 * they lie there, or cannot be loaded as that type. */
typedef void (*TileLoad)(void *to, const void *from, gint64 stride, gsize n);
TileLoad tile_load(TnDtype from, TileType to);
/* n elements of a tile, rounded, into memory of a dtype that is not held as it lies there; NULL: as the
 * dtype's row stores them. */
typedef void (*TileStore)(void *to, const void *from, gsize n);
TileStore tile_store(TnDtype to);

/* How numbers of a dtype are held in a tile, and whether its memory is that already. */
TileType tile_type_of(TnDtype dtype);
gboolean tile_is_native(TnDtype dtype);
static inline gsize
tile_type_size(TileType type)
{
    return type == TILE_F32 ? 4 : type == TILE_BOOL ? 1 : 8;
}

/* --- A program -------------------------------------------------------------------------------- */

#define TILE_MAX_SLOTS 256
#define TILE_MAX_SCALARS 128
#define TILE_MAX_INPUTS 128
#define TILE_STACK 32768 /* bytes of registers */
#define TILE_MAX_LENGTH 1024
#define TILE_ROW 256 /* rows at least this long are cut into tiles; shorter ones are put together */
/* Of programs with reductions: */
#define TILE_FOLD_STACK 65536 /* bytes of registers that hold whole rows */
#define TILE_CARRY 262144     /* bytes of rows that are longer than a tile, from phase to phase */
#define TILE_MAX_ROWS 64      /* of a tile */
#define TILE_MAX_ROW_VALUES 64
#define TILE_MAX_PHASES 32
#define TILE_MAX_FOLDS 16

typedef enum {
    SLOT_REGISTER, /* at: byte offset on the stack */
    SLOT_SCALAR,   /* at: number of the scalar */
    SLOT_CONSTANT, /* at: byte offset in `constants` */
    SLOT_INPUT,    /* at: number of the input, read where it is */
    SLOT_OUTPUT,   /* at: number of the output, written where it is */
    SLOT_CARRIED,  /* at: byte offset among the rows that are kept from phase to phase */
    SLOT_ROWS,     /* at: number of a vector with an element for each row of a tile */
} TileSlotKind;

typedef struct {
    TileSlotKind kind;
    guint32 at;
    guint32 size; /* of SLOT_CARRIED: bytes of an element */
} TileSlot;

/* How often a value changes, and so where it is computed. */
typedef enum { LEVEL_ONCE, LEVEL_ROW, LEVEL_TILE, N_LEVELS } TileLevel;

typedef struct {
    gint in;                          /* number of the node's input; -1: `data` */
    const void *data;                 /* of a constant that is not a scalar */
    gsize size;                       /* of an element in memory */
    TileType type;                    /* as which it is held */
    TileLoad load;                    /* NULL: as it lies there */
    gint64 wide_strides[TN_MAX_RANK]; /* along the axes of the program's shape */
    gint64 strides[TN_MAX_RANK];      /* along the collapsed axes */
    TileLevel level;
    /* Of a row of several axes that this input does not walk in one: those axes. */
    gint inner_rank;
    gint64 inner_dims[TN_MAX_RANK], inner_strides[TN_MAX_RANK];
    gboolean direct;   /* read where it is */
    gboolean periodic; /* the same for every tile: loaded once */
    guint32 phases;    /* those at whose begin a tile of it is loaded */
    guint16 slot;
} TileInput;

typedef struct {
    gint out; /* number of the node's output */
    gsize size;
    gboolean direct; /* an operation writes it */
    gboolean scalar; /* one element, whatever the tiles */
    guint16 slot;
} TileOutput;

/* A reduction (tile_fold.h) and the ends of a phase's operations. */
typedef struct TileFold TileFold;
typedef struct {
    guint ops[N_LEVELS];
    guint folds;
} TilePhase;

typedef struct {
    gint rank; /* of the collapsed axes; the last is a row */
    gint64 dims[TN_MAX_RANK];
    gint64 count;     /* elements */
    gint64 row;       /* elements of a row */
    gboolean grouped; /* a tile is some whole rows, else a part of one row */
    gint64 length;    /* elements of a tile */
    gint64 per_row;   /* tiles a row (not grouped) or rows a tile (grouped) */
    gint64 n_tiles, tiles_per_chunk, n_chunks;
    gboolean fetches; /* the next tile's memory while a tile is computed */

    guint n_slots;
    TileSlot *slots;
    guint n_inputs;
    TileInput *inputs;
    guint n_outputs;
    TileOutput *outputs;
    guint n_ops[N_LEVELS];
    TileOp *ops[N_LEVELS];
    TileOp *stores; /* of outputs that are not direct, after everything else */
    guint n_stores;

    guint n_folds; /* what follows is of programs with reductions */
    TileFold *folds;
    guint n_phases, last_phase; /* outputs are stored in the last phase that reads inputs */
    TilePhase *phases;
    gboolean by_rows;   /* some are over a row: a tile has whole rows, or all of one in turn */
    TileOp *row_stores; /* of outputs with an element a row; out: the output's number */
    guint n_row_stores;
    gint64 per_chunk; /* elements */
    gsize scratch;    /* bytes, for slices of what is reduced beyond a row */
    guint8 *constants;
    GPtrArray *tensors; /* held for `data` */
} TileProgram;

/* Compiles a node: an element-wise primitive or composite, or a fused group. NULL with *error if
 * something in it is not element-wise. (transfer full). */
TileProgram *tile_compile(const TnNode *node, GError **error);
/* The same as if no input could be read where it is: what is possible then is so with any strides, for
 * tile_compile falls back to it. */
TileProgram *tile_compile_any(const TnNode *node, GError **error);
void tile_free(TileProgram *program);
TnStatus tile_run(const TileProgram *program, const TnRun *run);
