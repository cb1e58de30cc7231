/* sink.c: what a stage in Lua may do with files: write tensors through a dataset writer, and read a
 * model's variables from a checkpoint of another run. */
#include "host-private.h"
#include <tenon/dataset.h>

#include <string.h>

#define WRITER "tenon.writer"

typedef struct {
    TnObject *object; /* NULL: closed */
    guint n;          /* fields; 0: nothing was written yet */
    TnField fields[TN_MAX_FIELDS];
    gint64 length, written; /* samples */
} Writer;

/* writer(spec) */
static int
writer_new(lua_State *L)
{
    TnSpec *spec = tn_to_spec(L, 1);
    luaL_argcheck(L, spec, 1, "a dataset writer was expected");
    TnContext *context = tn_host_context(L);
    GError *error = NULL;
    Writer *writer = lua_newuserdatauv(L, sizeof *writer, 0);
    memset(writer, 0, sizeof *writer);
    luaL_setmetatable(L, WRITER);
    if (tn_host_confine(tn_host_of(L), spec, &error))
        writer->object = tn_object_new(spec, context, &error);
    return writer->object ? 1 : tn_host_raise(L, error);
}

static int
writer_close(lua_State *L)
{
    Writer *writer = luaL_checkudata(L, 1, WRITER);
    g_clear_pointer(&writer->object, tn_object_unref);
    return 0;
}

static Writer *
check_writer(lua_State *L)
{
    Writer *writer = luaL_checkudata(L, 1, WRITER);
    if (!writer->object)
        tn_host_raise_text(L, TN_ERROR_FAILED, "the file is written already");
    return writer;
}

/* The fields at index, a list of {name, tensor}: as of one sample into fields, the tensors, and how
 * many samples they have. Raises if they do not fit each other. */
static guint
read_fields(lua_State *L, int index, TnField *fields, TnTensor **tensors, gint64 *count)
{
    guint n = 0;
    luaL_checktype(L, index, LUA_TTABLE);
    for (; lua_rawgeti(L, index, (lua_Integer)n + 1) == LUA_TTABLE; n++) {
        lua_rawgeti(L, -1, 1);
        lua_rawgeti(L, -2, 2);
        const char *name = tn_intern(luaL_checkstring(L, -2));
        const TnLuaTensor *handle = tn_to_tensor(L, -1);
        const TnType *type = handle ? tn_tensor_type(handle->tensor) : NULL;
        if (n == TN_MAX_FIELDS || !type || type->rank < 1)
            tn_host_raise_text(L, TN_ERROR_CONFIG,
                               "%s: what is written are at most %d tensors with a row a sample",
                               name, TN_MAX_FIELDS);
        if (n > 0 && type->dims[0] != *count)
            tn_host_raise_text(L, TN_ERROR_SHAPE,
                               "%s: %" G_GINT64_FORMAT " samples, '%s' has %" G_GINT64_FORMAT, name,
                               type->dims[0], fields[0].name, *count);
        *count = type->dims[0];
        tensors[n] = handle->tensor;
        fields[n] = (TnField){ name, *type };
        fields[n].type.rank--;
        for (gint i = 0; i < fields[n].type.rank; i++)
            fields[n].type.dims[i] = type->dims[i + 1];
        lua_pop(L, 3);
    }
    lua_pop(L, 1);
    return n;
}

/* count samples, from memory of the host. */
static gboolean
write_samples(Writer *writer, TnTensor *const *tensors, gint64 count, GError **error)
{
    const TnDatasetWriterVTable *vtable = tn_object_vtable(writer->object);
    TnTensor *copies[TN_MAX_FIELDS] = { NULL };
    const void *rows[TN_MAX_FIELDS] = { NULL };
    gboolean ok = TRUE;
    for (guint i = 0; ok && i < writer->n; i++) {
        copies[i] = tn_tensor_copy(tensors[i], NULL, TN_DTYPE_NONE, error);
        rows[i] = copies[i] ? tn_tensor_map(copies[i], TN_MAP_READ, error) : NULL;
        ok = rows[i] != NULL;
    }
    if (ok) {
        tn_object_enter(writer->object);
        ok = vtable->write(tn_object_self(writer->object), (gsize)count, rows, error);
        tn_object_leave(writer->object);
    }
    for (guint i = 0; i < writer->n; i++) {
        if (rows[i])
            tn_tensor_unmap(copies[i]);
        if (copies[i])
            tn_tensor_unref(copies[i]);
    }
    writer->written += ok ? count : 0;
    return ok;
}

/* writer:write(split, samples in all, {{name, tensor}, …}): the first one says what the fields
 * are. */
static int
writer_write(lua_State *L)
{
    Writer *writer = check_writer(L);
    const TnDatasetWriterVTable *vtable = tn_object_vtable(writer->object);
    const char *split = luaL_checkstring(L, 2);
    const gint64 length = luaL_checkinteger(L, 3);
    TnField fields[TN_MAX_FIELDS];
    TnTensor *tensors[TN_MAX_FIELDS];
    gint64 count = 0;
    GError *error = NULL;
    const guint n = read_fields(L, 4, fields, tensors, &count);
    gboolean same = writer->n == 0 || writer->n == n;
    for (guint i = 0; same && i < writer->n; i++)
        same = fields[i].name == writer->fields[i].name &&
               tn_type_equal(&fields[i].type, &writer->fields[i].type);
    if (!same || (writer->n > 0 && writer->written + count > writer->length))
        return tn_host_raise_text(L, TN_ERROR_SHAPE,
                                  "samples of another kind than the first, or too many");
    if (writer->n == 0) {
        memcpy(writer->fields, fields, sizeof fields);
        tn_object_enter(writer->object);
        const gboolean ok =
            vtable->begin(tn_object_self(writer->object), split, n, fields, length, &error);
        tn_object_leave(writer->object);
        if (!ok)
            return tn_host_raise(L, error);
        writer->n = n;
        writer->length = length;
    }
    return write_samples(writer, tensors, count, &error) ? 0 : tn_host_raise(L, error);
}

/* writer:finish(): the file appears whole. */
static int
writer_finish(lua_State *L)
{
    Writer *writer = check_writer(L);
    const TnDatasetWriterVTable *vtable = tn_object_vtable(writer->object);
    GError *error = NULL;
    if (writer->written != writer->length)
        return tn_host_raise_text(L, TN_ERROR_FAILED,
                                  "%" G_GINT64_FORMAT " of %" G_GINT64_FORMAT " samples came",
                                  writer->written, writer->length);
    tn_object_enter(writer->object);
    const gboolean ok = vtable->finish(tn_object_self(writer->object), &error);
    tn_object_leave(writer->object);
    g_clear_pointer(&writer->object, tn_object_unref);
    return ok ? 0 : tn_host_raise(L, error);
}

/* --- Weights ---------------------------------------------------------------------------------- */

static gboolean
load_variable(const TnSafetensors *file, TnVar *var, GError **error)
{
    const gint at = tn_safetensors_find(file, tn_var_info(var)->name);
    const TnType *type = at < 0 ? NULL : tn_safetensors_type(file, (guint)at);
    if (at < 0) {
        g_set_error(error, TN_ERROR, TN_ERROR_NOT_FOUND, "there is no variable '%s' in it",
                    tn_var_info(var)->name);
        return FALSE;
    }
    if (!tn_type_equal(type, &tn_var_info(var)->type)) {
        g_autofree char *theirs = tn_type_print(type),
                        *ours = tn_type_print(&tn_var_info(var)->type);
        g_set_error(error, TN_ERROR, TN_ERROR_SHAPE, "variable '%s' is %s there, the model's is %s",
                    tn_var_info(var)->name, theirs, ours);
        return FALSE;
    }
    return tn_var_write(var, tn_safetensors_data(file, (guint)at), (gsize)tn_type_bytes(type),
                        error);
}

/* Parameters must be there; of what else is kept, such as running means, what is there is taken. */
static gboolean
load_file(TnStore *store, const char *path, GError **error)
{
    g_autoptr(TnSafetensors) file = tn_safetensors_open(path, error);
    for (guint i = 0; file && i < tn_store_n(store); i++) {
        TnVar *var = tn_store_at(store, i);
        const TnRole role = tn_var_info(var)->role;
        const gboolean there = tn_safetensors_find(file, tn_var_info(var)->name) >= 0;
        if (role != TN_ROLE_PARAM && (role != TN_ROLE_STAT || !there))
            continue;
        if (!load_variable(file, var, error)) {
            tn_error_prefix(error, "%s", path);
            return FALSE;
        }
    }
    return file != NULL;
}

/* load_weights(path) */
static int
load_weights(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    TnContext *context = tn_host_context(L);
    GError *error = NULL;
    tn_host_of(L)->writes++;
    return load_file(tn_context_store(context), path, &error) ? 0 : tn_host_raise(L, error);
}

int
tn_sink_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "__gc", writer_close },
        { "__close", writer_close },
        { "write", writer_write },
        { "finish", writer_finish },
        { NULL, NULL },
    };
    static const luaL_Reg functions[] = {
        { "writer", writer_new },
        { "load_weights", load_weights },
        { NULL, NULL },
    };
    tn_host_metatable(L, WRITER, methods);
    luaL_setfuncs(L, functions, 0);
    return 0;
}
