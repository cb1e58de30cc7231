/* attrs.c: structs without a config around them: operators' attributes. Strings in them are
 * interned, tensors and graphs are counted. */
#include <string.h>

#include <tenon/graph.h>

#include "option/option-private.h"

/* Rows of groups stand for the group: one loop sees every member. */
typedef gboolean (*Visit)(const TnOption *row, gconstpointer a, gconstpointer b, gpointer user);

/* Calls visit with each member of struct a and its like in b (may be NULL) until one gives
 * FALSE. */
static gboolean
visit_all(const TnOptions *options, const char *a, const char *b, Visit visit, gpointer user)
{
    for (guint32 i = 0; i < options->n; i++) {
        const TnOption *row = tn_options_row(options, i);
        const char *at = a + row->offset, *like = b ? b + row->offset : NULL;
        gboolean go_on;
        if (row->type == TN_OPT_GROUP) {
            const TnOptions sub = tn_option_sub(row, options->row_size);
            go_on = visit_all(&sub, at, like, visit, user);
        } else {
            go_on = visit(row, at, like, user);
        }
        if (!go_on)
            return FALSE;
    }
    return TRUE;
}

/* --- Filling ---------------------------------------------------------------------------------- */

void
tn_options_defaults(const TnOptions *options, void *data)
{
    g_autoptr(TnFaults) faults = tn_faults_new();
    TnFill fill = { NULL, faults, NULL };
    /* A required option has no default, so what it lacks here is no fault. */
    tn_fill(&fill, options, NULL, (TnWhere){ NULL, 0 }, NULL, NULL, data);
}

gboolean
tn_options_fill(const TnOptions *options, const TnValue *map, void *data, GError **error)
{
    g_autoptr(TnFaults) faults = tn_faults_new();
    g_autofree void *filled = g_malloc0(MAX(options->struct_size, 1));
    TnFill fill = { NULL, faults, NULL };
    tn_fill(&fill, options, map, tn_value_where(map), NULL, NULL, filled);
    if (tn_faults_to_error(faults, error))
        return FALSE;
    if (options->struct_size > 0)
        memcpy(data, filled, options->struct_size);
    return TRUE;
}

/* --- Hash ------------------------------------------------------------------------------------- */

static guint64
hash_string(guint64 hash, const char *text)
{
    const gsize size = text ? strlen(text) + 1 : 0;
    hash = tn_hash(hash, &size, sizeof size);
    return tn_hash(hash, text, size);
}

static guint64
hash_tensor(guint64 hash, TnTensor *tensor)
{
    if (!tensor)
        return tn_hash(hash, "", 1);
    const TnType *type = tn_tensor_type(tensor);
    hash = tn_hash(hash, &type->dtype, sizeof type->dtype);
    hash = tn_hash(hash, type->dims, (gsize)type->rank * sizeof *type->dims);
    g_autoptr(TnTensor) plain = NULL;
    if (!tn_tensor_is_contiguous(tensor))
        tensor = plain = tn_tensor_copy(tensor, NULL, TN_DTYPE_NONE, NULL);
    const void *elements = tensor ? tn_tensor_map(tensor, TN_MAP_READ, NULL) : NULL;
    if (elements) {
        hash = tn_hash(hash, elements, (gsize)tn_tensor_bytes(tensor));
        tn_tensor_unmap(tensor);
    }
    return hash;
}

/* Bytes of a member that is compared as such; 0 for one that points elsewhere. */
static gsize
plain_size(const TnOption *row, gconstpointer member)
{
    switch (row->type) {
    case TN_OPT_BOOL: return sizeof(gboolean);
    case TN_OPT_ENUM: return sizeof(gint);
    case TN_OPT_FLAGS: return sizeof(guint32);
    case TN_OPT_INT64:
    case TN_OPT_UINT64:
    case TN_OPT_SIZE:
    case TN_OPT_DOUBLE:
    case TN_OPT_DURATION: return 8;
    case TN_OPT_INTS:
        return G_STRUCT_OFFSET(TnInts, v) + (gsize)((const TnInts *)member)->n * sizeof(gint64);
    case TN_OPT_DOUBLES:
        return G_STRUCT_OFFSET(TnDoubles, v) +
               (gsize)((const TnDoubles *)member)->n * sizeof(double);
    default: return 0;
    }
}

/* The parts of a member that holds numbers: padding between a count and its numbers is left out. */
static guint64
hash_plain(guint64 hash, const TnOption *row, gconstpointer member)
{
    const gsize size = plain_size(row, member);
    const gboolean is_list = row->type == TN_OPT_INTS || row->type == TN_OPT_DOUBLES;
    const gsize head = is_list ? G_STRUCT_OFFSET(TnInts, v) : 0;
    if (is_list)
        hash = tn_hash(hash, member, sizeof(gint32));
    return tn_hash(hash, (const char *)member + head, size - head);
}

static gboolean
hash_member(const TnOption *row, gconstpointer a, gconstpointer b, gpointer user)
{
    (void)b;
    guint64 *hash = user;
    const TnShape *shape = a;
    const TnStrings *strings = a;
    switch (row->type) {
    case TN_OPT_STRING:
    case TN_OPT_PATH: *hash = hash_string(*hash, *(const char *const *)a); break;
    case TN_OPT_SHAPE:
        *hash = tn_hash(*hash, &shape->rank, sizeof shape->rank);
        *hash = tn_hash(*hash, shape->dims, (gsize)shape->rank * sizeof *shape->dims);
        break;
    case TN_OPT_STRINGS:
        *hash = tn_hash(*hash, &strings->n, sizeof strings->n);
        for (gint i = 0; i < strings->n; i++)
            *hash = hash_string(*hash, strings->v[i]);
        break;
    case TN_OPT_TENSOR: *hash = hash_tensor(*hash, *(TnTensor *const *)a); break;
    case TN_OPT_GRAPH: {
        const TnGraph *graph = *(TnGraph *const *)a;
        const guint64 digest = graph ? tn_graph_digest(graph) : 0;
        *hash = tn_hash(*hash, &digest, sizeof digest);
        break;
    }
    default: *hash = hash_plain(*hash, row, a); break;
    }
    return TRUE;
}

guint64
tn_options_hash(const TnOptions *options, const void *data)
{
    guint64 hash = TN_HASH_INIT;
    (void)visit_all(options, data, NULL, hash_member, &hash);
    return hash;
}

/* --- Equality --------------------------------------------------------------------------------- */

static gboolean
equal_tensors(TnTensor *a, TnTensor *b)
{
    if (a == b)
        return TRUE;
    if (!a || !b || !tn_type_equal(tn_tensor_type(a), tn_tensor_type(b)))
        return FALSE;
    g_autoptr(TnTensor) plain_a = tn_tensor_copy(a, NULL, TN_DTYPE_NONE, NULL);
    g_autoptr(TnTensor) plain_b = tn_tensor_copy(b, NULL, TN_DTYPE_NONE, NULL);
    return plain_a && plain_b &&
           memcmp(tn_storage_memory(tn_tensor_storage(plain_a)),
                  tn_storage_memory(tn_tensor_storage(plain_b)),
                  (gsize)tn_tensor_bytes(plain_a)) == 0;
}

static gboolean
equal_strings(const TnStrings *a, const TnStrings *b)
{
    gboolean equal = a->n == b->n;
    for (gint i = 0; equal && i < a->n; i++)
        equal = g_strcmp0(a->v[i], b->v[i]) == 0;
    return equal;
}

static gboolean
equal_member(const TnOption *row, gconstpointer a, gconstpointer b, gpointer user)
{
    (void)user;
    const TnShape *shape_a = a, *shape_b = b;
    switch (row->type) {
    case TN_OPT_STRING:
    case TN_OPT_PATH: return g_strcmp0(*(const char *const *)a, *(const char *const *)b) == 0;
    case TN_OPT_SHAPE:
        return shape_a->rank == shape_b->rank &&
               memcmp(shape_a->dims, shape_b->dims, (gsize)shape_a->rank * sizeof(gint64)) == 0;
    case TN_OPT_STRINGS: return equal_strings(a, b);
    case TN_OPT_TENSOR: return equal_tensors(*(TnTensor *const *)a, *(TnTensor *const *)b);
    case TN_OPT_GRAPH: {
        const TnGraph *graph_a = *(TnGraph *const *)a, *graph_b = *(TnGraph *const *)b;
        return graph_a == graph_b ||
               (graph_a && graph_b && tn_graph_digest(graph_a) == tn_graph_digest(graph_b));
    }
    case TN_OPT_COMPONENT:
    case TN_OPT_FUNCTION:
    case TN_OPT_VALUE: return *(gconstpointer const *)a == *(gconstpointer const *)b;
    case TN_OPT_COMPONENTS:
    case TN_OPT_COMPONENT_MAP:
        return ((const TnSpecs *)a)->n == ((const TnSpecs *)b)->n &&
               ((const TnSpecs *)a)->v == ((const TnSpecs *)b)->v;
    case TN_OPT_INTS:
    case TN_OPT_DOUBLES:
        return *(const gint32 *)a == *(const gint32 *)b &&
               memcmp(((const TnInts *)a)->v, ((const TnInts *)b)->v,
                      (gsize) * (const gint32 *)a * 8) == 0;
    default: return memcmp(a, b, plain_size(row, a)) == 0;
    }
}

gboolean
tn_options_equal(const TnOptions *options, const void *a, const void *b)
{
    return visit_all(options, a, b, equal_member, NULL);
}

/* --- References ------------------------------------------------------------------------------- */

static gboolean
hold_member(const TnOption *row, gconstpointer a, gconstpointer b, gpointer user)
{
    (void)b;
    (void)user;
    gpointer object =
        row->type == TN_OPT_TENSOR || row->type == TN_OPT_GRAPH ? *(gpointer const *)a : NULL;
    if (object && row->type == TN_OPT_TENSOR)
        tn_tensor_ref(object);
    else if (object)
        tn_graph_ref(object);
    return TRUE;
}

static gboolean
drop_member(const TnOption *row, gconstpointer a, gconstpointer b, gpointer user)
{
    (void)b;
    (void)user;
    if (row->type == TN_OPT_TENSOR)
        g_clear_pointer((TnTensor **)a, tn_tensor_unref);
    else if (row->type == TN_OPT_GRAPH)
        g_clear_pointer((TnGraph **)a, tn_graph_unref);
    return TRUE;
}

void
tn_options_hold(const TnOptions *options, void *data)
{
    (void)visit_all(options, data, NULL, hold_member, NULL);
}

void
tn_options_drop(const TnOptions *options, void *data)
{
    (void)visit_all(options, data, NULL, drop_member, NULL);
}

/* --- Text ------------------------------------------------------------------------------------- */

static gboolean
print_member(const TnOption *row, gconstpointer a, gconstpointer b, gpointer user)
{
    GString *text = user;
    if (equal_member(row, a, b, NULL))
        return TRUE;
    g_autoptr(TnValue) value = tn_option_get(row, (const char *)a - row->offset);
    g_autofree char *printed =
        row->flags & TN_OPTION_SECRET ? g_strdup("***") : tn_value_print(value, -1);
    g_string_append_printf(text, "%s%s=%s", text->len > 0 ? " " : "", row->name, printed);
    return TRUE;
}

char *
tn_options_print(const TnOptions *options, const void *data)
{
    GString *text = g_string_new(NULL);
    g_autofree char *defaults = g_malloc0(MAX(options->struct_size, 1));
    tn_options_defaults(options, defaults);
    (void)visit_all(options, data, defaults, print_member, text);
    return g_string_free(text, FALSE);
}
