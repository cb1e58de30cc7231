/* cache.c: programs that are alive, by what they were compiled from, so that runs side by side
 * and functions share them. The cache holds no reference: a program leaves it with its last
 * user. */
#include "program-private.h"

#include "graph/graph-private.h"

#include <pthread.h>
#include <string.h>
#include <tenon/base.h>

static struct {
    pthread_mutex_t lock;
    GHashTable *programs; /* GBytes * (the program's own) → TnProgram * */
} cache = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* --- Key -------------------------------------------------------------------------------------- */

static void
put_type(GByteArray *key, const TnType *type)
{
    g_byte_array_append(key, (const guint8 *)&type->dtype, sizeof type->dtype);
    g_byte_array_append(key, (const guint8 *)&type->rank, sizeof type->rank);
    g_byte_array_append(key, (const guint8 *)type->dims,
                        (guint)((gsize)type->rank * sizeof(gint64)));
}

static void
put_value(GByteArray *key, TnTensor *value)
{
    g_autoptr(TnTensor) copy = tn_tensor_copy(value, NULL, TN_DTYPE_NONE, NULL);
    if (copy != NULL) {
        put_type(key, tn_tensor_type(copy));
        const guint64 hash = tn_hash(TN_HASH_INIT, tn_storage_memory(tn_tensor_storage(copy)),
                                     (gsize)tn_tensor_bytes(copy));
        g_byte_array_append(key, (const guint8 *)&hash, sizeof hash);
    }
}

GBytes *
tn_program_key(const TnGraph *graph, const TnCompile *options)
{
    GByteArray *key = g_byte_array_new();
    const guint64 digest[2] = { tn_graph_digest(graph), graph->nodes->len };
    g_byte_array_append(key, (const guint8 *)digest, sizeof digest);
    for (guint i = 0; i < graph->inputs->len; i++) {
        const TnVal val = g_array_index(graph->inputs, TnGraphPort, i).val;
        put_type(key, options->inputs != NULL ? &options->inputs[i]
                                              : &tn_graph_node(graph, val.node)->out[val.out]);
        if (options->values != NULL && options->values[i] != NULL) {
            put_value(key, options->values[i]);
        }
    }
    for (guint i = 0; i < graph->variables->len; i++) {
        put_type(key, &g_array_index(graph->variables, TnGraphVariable, i).type);
    }
    g_byte_array_append(key, (const guint8 *)options->devices,
                        (guint)(options->n_devices * sizeof(TnDevice *)));
    for (guint i = 0; options->skip != NULL && options->skip[i] != NULL; i++) {
        g_byte_array_append(key, (const guint8 *)options->skip[i],
                            (guint)strlen(options->skip[i]) + 1);
    }
    const guint8 flags[] = { options->batch_invariant != FALSE, options->fast_math != FALSE };
    g_byte_array_append(key, flags, sizeof flags);
    g_byte_array_append(key, (const guint8 *)&options->memory_limit, sizeof options->memory_limit);
    g_byte_array_append(key, (const guint8 *)&options->precision, sizeof options->precision);
    if (options->choices != NULL) {
        const guint64 hash = tn_value_hash(options->choices);
        g_byte_array_append(key, (const guint8 *)&hash, sizeof hash);
    }
    if (options->costs != NULL) {
        const guint64 hash = tn_costs_digest(options->costs);
        g_byte_array_append(key, (const guint8 *)&hash, sizeof hash);
    }
    return g_byte_array_free_to_bytes(key);
}

/* --- Finding and adding ----------------------------------------------------------------------- */

TnProgram *
tn_program_cache_find(GBytes *key)
{
    pthread_mutex_lock(&cache.lock);
    TnProgram *program = cache.programs != NULL ? g_hash_table_lookup(cache.programs, key) : NULL;
    if (program != NULL) {
        program->n_refs++;
    }
    pthread_mutex_unlock(&cache.lock);
    return program;
}

TnProgram *
tn_program_cache_add(GBytes *key, TnProgram *program)
{
    pthread_mutex_lock(&cache.lock);
    if (cache.programs == NULL) {
        cache.programs = g_hash_table_new(g_bytes_hash, g_bytes_equal);
    }
    TnProgram *earlier = g_hash_table_lookup(cache.programs, key);
    if (earlier != NULL) {
        earlier->n_refs++;
    } else {
        program->key = g_bytes_ref(key);
        g_hash_table_insert(cache.programs, program->key, program);
    }
    pthread_mutex_unlock(&cache.lock);
    if (earlier != NULL) {
        tn_program_unref(program);
        return earlier;
    }
    return program;
}

TnProgram *
tn_compile_shared(const TnGraph *graph, const TnCompile *options, GError **error)
{
    g_autoptr(GBytes) key = tn_program_key(graph, options);
    TnProgram *program = tn_program_cache_find(key);
    if (program == NULL) {
        program = tn_compile(graph, options, error);
        if (program != NULL) {
            program = tn_program_cache_add(key, program);
        }
    }
    return program;
}

/* --- References: under the cache's lock, so that nobody finds a program that is about to go --- */

TnProgram *
tn_program_ref(TnProgram *program)
{
    pthread_mutex_lock(&cache.lock);
    program->n_refs++;
    pthread_mutex_unlock(&cache.lock);
    return program;
}

void
tn_program_unref(TnProgram *program)
{
    pthread_mutex_lock(&cache.lock);
    const gboolean last = --program->n_refs == 0;
    if (last && program->key != NULL) {
        g_hash_table_remove(cache.programs, program->key);
    }
    pthread_mutex_unlock(&cache.lock);
    if (last) {
        tn_program_destroy(program);
    }
}
