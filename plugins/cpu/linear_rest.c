/* linear_rest.c: what follows a dense layer. */
#include "linear_rest.h"

#include <tenon/nn.h>

enum { MORE = 3 };

/* Elements that stay in the first-level cache from one function to the next. */
#define STRIP 2048

/* By TnLinearActivation. */
static const char *const activations[] = { NULL, "max", "gelu_erf", "gelu_tanh" };

static const TnFusedLinearAttrs *
attrs_of(const TnNode *node)
{
    return strcmp(node->op->name, "fused_linear") == 0 ? node->attrs : NULL;
}

static TileFn
function(const char *name, TnDtype dtype, gint *arity)
{
    guint n;
    gboolean to_bool;
    const TileFn *fn = tile_find(name, tile_type_of(dtype), &n, &to_bool);
    *arity = (gint)n;
    return fn != NULL ? fn[cpu_isa] : NULL;
}

gboolean
linear_rest_fits(const TnNode *node)
{
    const TnFusedLinearAttrs *attrs = attrs_of(node);
    const char *name = attrs != NULL ? activations[attrs->activation] : NULL;
    gint arity;
    return attrs != NULL &&
           (name == NULL || function(name, node->in[0].type.dtype, &arity) != NULL);
}

/* How far apart the rows are of a matrix of all axes but the last by the last; FALSE: it has gaps. */
static gboolean
rows_apart(const TnArg *arg, gint64 *row)
{
    const gint lead = arg->type.rank - 1;
    const gint64 n = arg->type.dims[lead];
    gint64 dims[TN_MAX_RANK], strides[1][TN_MAX_RANK];
    memcpy(dims, arg->type.dims, sizeof dims);
    memcpy(strides[0], arg->strides, sizeof strides[0]);
    const gint left = cpu_collapse(lead, dims, 1, strides);
    *row = left == 1 ? strides[0][0] : n;
    return left <= 1 && (n == 1 || arg->strides[lead] == 1);
}

void
linear_rest_plan(LinearRest *rest, const TnNode *node, gsize *scratch)
{
    const TnFusedLinearAttrs *attrs = attrs_of(node);
    const TnDtype dtype = node->in[0].type.dtype;
    const TnArg *more = &node->in[MORE];
    gint two;
    *rest = (LinearRest){ .last = attrs->last,
                          .f64 = dtype == TN_DTYPE_F64,
                          .n = node->out[0].type.dims[node->out[0].type.rank - 1] };
    if (attrs->activation != TN_LINEAR_NONE) {
        rest->act = function(activations[attrs->activation], dtype, &rest->arity);
    }
    if (node->n_in <= MORE || more->type.dtype == TN_DTYPE_NONE) {
        return;
    }
    rest->add = function("add", dtype, &two);
    rest->copies = !rows_apart(more, &rest->more_row);
    if (rest->copies) {
        gint64 to[TN_MAX_RANK];
        tn_type_strides(&more->type, to);
        rest->more_row = rest->n;
        rest->copy_at = cpu_reserve(scratch, tn_type_bytes(&more->type));
        cpu_copy_plan(&rest->copy, tn_dtype_size(dtype), more->type.rank, more->type.dims, to,
                      more->strides);
    }
}

const char *
linear_rest_begin(const LinearRest *rest, const void *more, void *scratch)
{
    if (!rest->copies) {
        return more;
    }
    char *to = (char *)scratch + rest->copy_at;
    cpu_copy_run(&rest->copy, to, more);
    return to;
}

static void
activate(const LinearRest *rest, char *c, gint64 n)
{
    static const double zero = 0; /* of every type */
    const TileOp op = { .scalar = rest->arity > 1 ? 1 << 1 : 0 };
    rest->act(c, (const void *const[]){ c, &zero }, n, &op);
}

static void
add(const LinearRest *rest, char *c, const char *more, gint64 n)
{
    const TileOp op = { 0 };
    rest->add(c, (const void *const[]){ c, more }, n, &op);
}

static void
run_strip(const LinearRest *rest, char *c, const char *more, gint64 n)
{
    if (rest->add != NULL && !rest->last) {
        add(rest, c, more, n);
    }
    if (rest->act != NULL) {
        activate(rest, c, n);
    }
    if (rest->add != NULL && rest->last) {
        add(rest, c, more, n);
    }
}

void
linear_rest_run(const LinearRest *rest, char *c, const char *more, gint64 row, gint64 rows,
                gint64 col, gint64 cols)
{
    const gint64 size = rest->f64 ? sizeof(double) : sizeof(float);
    /* Whole rows, one behind the other, are one. */
    const gboolean one = cols == rest->n && (rest->add == NULL || rest->more_row == rest->n);
    const gint64 length = one ? rows * cols : cols, n = one ? 1 : rows;
    for (gint64 i = row; i < row + n; i++) {
        for (gint64 at = 0; at < length; at += STRIP) {
            const gint64 first = col + at;
            const char *from =
                rest->add != NULL ? more + (i * rest->more_row + first) * size : NULL;
            run_strip(rest, c + (i * rest->n + first) * size, from, MIN(STRIP, length - at));
        }
    }
}
