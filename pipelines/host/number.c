/* number.c: Lua's numbers as elements of tensors and back. Whole numbers stay whole, whatever their size; what a
 * dtype does not hold is refused, as NumPy 2 does, and not bent to what it does hold. A u64 beyond Lua's integers is a
 * string of digits, both ways. */
#include "host-private.h"

#include <math.h>
#include <string.h>

/* --- From Lua --------------------------------------------------------------------------------- */

typedef struct {
    gint64 least;
    guint64 most;
} Range;

static Range
range_of(const TnDtypeInfo *info)
{
    if (info->klass == TN_CLASS_UINT)
        return (Range){ 0, G_MAXUINT64 >> (64 - info->bits) };
    const gint64 most = G_MAXINT64 >> (64 - info->bits);
    return (Range){ -most - 1, (guint64)most };
}

/* A whole number in the range as the 64 bits of its two's complement; FALSE: it is none. */
static gboolean
whole_bits(lua_State *L, int index, Range range, guint64 *bits)
{
    if (lua_type(L, index) == LUA_TSTRING)
        return range.most == G_MAXUINT64 &&
               g_ascii_string_to_unsigned(lua_tostring(L, index), 10, 0, G_MAXUINT64, bits, NULL);
    if (lua_isinteger(L, index)) {
        const gint64 number = lua_tointeger(L, index);
        *bits = (guint64)number;
        return number >= range.least && (number < 0 || (guint64)number <= range.most);
    }
    const double number = lua_tonumber(L, index);
    /* One beyond the range is a power of two: a double at any size. Comparisons with NaN are false. */
    const double end = 2 * (double)(range.most / 2 + 1);
    if (!(number >= (double)range.least && number < end) || number != floor(number))
        return FALSE;
    *bits = number < 0 ? (guint64)(gint64)number : (guint64)number;
    return TRUE;
}

gboolean
tn_number_read(lua_State *L, int index, TnDtype dtype, void *element)
{
    const TnDtypeInfo *info = tn_dtype_info(dtype);
    const int type = lua_type(L, index);
    if (type == LUA_TBOOLEAN) {
        const guint64 set = (guint64)lua_toboolean(L, index);
        tn_dtype_convert(dtype, element, 1, TN_DTYPE_U64, &set, 1, 1);
        return TRUE;
    }
    const gboolean whole = info->klass == TN_CLASS_INT || info->klass == TN_CLASS_UINT;
    if (type != LUA_TNUMBER && !(whole && type == LUA_TSTRING))
        return FALSE;
    if (whole) {
        guint64 bits;
        if (!whole_bits(L, index, range_of(info), &bits))
            return FALSE;
        info->store(element, &bits, 1, 1);
        return TRUE;
    }
    if (lua_isinteger(L, index)) { /* rounded once, not to a double first */
        const gint64 number = lua_tointeger(L, index);
        tn_dtype_convert(dtype, element, 1, TN_DTYPE_I64, &number, 1, 1);
    } else {
        const double number = lua_tonumber(L, index);
        tn_dtype_convert(dtype, element, 1, TN_DTYPE_F64, &number, 1, 1);
    }
    return TRUE;
}

int
tn_number_refuse(lua_State *L, int index, TnDtype dtype, const char *who, const char *hint)
{
    const TnDtypeInfo *info = tn_dtype_info(dtype);
    const char *colon = who ? ": " : "";
    const int type = lua_type(L, index);
    who = who ? who : "";
    if (type != LUA_TNUMBER && type != LUA_TSTRING)
        return tn_host_raise_text(L, TN_ERROR_DTYPE, "%s%sa number was expected, not %s%s", who,
                                  colon, lua_isnoneornil(L, index) ? "" : "a ",
                                  lua_isnoneornil(L, index) ? "nil" : luaL_typename(L, index));
    const char *text =
        lua_tonumber(L, index) != lua_tonumber(L, index) ? "nan" : luaL_tolstring(L, index, NULL);
    if (info->klass != TN_CLASS_INT && info->klass != TN_CLASS_UINT)
        return tn_host_raise_text(L, TN_ERROR_DTYPE, "%s%s'%s' is a string, not a number", who,
                                  colon, text);
    const Range range = range_of(info);
    return tn_host_raise_text(L, TN_ERROR_DTYPE,
                              "%s%s%s cannot be %s %s, a whole number from %" G_GINT64_FORMAT
                              " to %" G_GUINT64_FORMAT "%s",
                              who, colon, text, info->klass == TN_CLASS_INT ? "an" : "a",
                              info->name, range.least, range.most, hint ? hint : "");
}

void
tn_number_check(lua_State *L, int index, TnDtype dtype, void *element)
{
    if (!tn_number_read(L, index, dtype, element))
        tn_number_refuse(L, index, dtype, NULL, NULL);
}

TnTensor *
tn_number_scalar(lua_State *L, int index, TnDtype dtype, const char *who, const char *hint)
{
    guint64 element;
    if (!tn_number_read(L, index, dtype, &element))
        tn_number_refuse(L, index, dtype, who, hint);
    TnTensor *tensor = tn_tensor_scalar(dtype, 0);
    memcpy(tn_storage_memory(tn_tensor_storage(tensor)), &element, tn_dtype_size(dtype));
    return tensor;
}

gboolean
tn_number_is_double(lua_State *L, int index)
{
    const gint64 most = G_GINT64_CONSTANT(1) << 53;
    const gint64 number = lua_isinteger(L, index) ? lua_tointeger(L, index) : 0;
    return number >= -most && number <= most;
}

/* Attributes that are elements of an operator's output, of its dtype therefore (kernels bend what does not fit), and
 * those that say which numbers there are, of whatever dtype: one that a double rounds would say others. */
void
tn_number_check_attributes(lua_State *L, const TnOp *op, const TnValue *given, TnDtype dtype)
{
    static const struct {
        const char *op, *attribute;
        gboolean counts;
    } rows[] = {
        { "clip", "min", FALSE },    { "clip", "max", FALSE },    { "full_like", "value", FALSE },
        { "one_hot", "on", FALSE },  { "one_hot", "off", FALSE }, { "pad", "value", FALSE },
        { "arange", "start", TRUE }, { "arange", "stop", TRUE },  { "arange", "step", TRUE },
    };
    guint64 element;
    for (guint i = 0; i < G_N_ELEMENTS(rows) && tn_value_len(given) > 0; i++) {
        const TnValue *value =
            strcmp(rows[i].op, op->name) == 0 ? tn_value_get(given, rows[i].attribute) : NULL;
        if (!value)
            continue;
        tn_push_value(L, value);
        const char *who = lua_pushfstring(L, "%s: %s", op->name, rows[i].attribute);
        if (!rows[i].counts && !tn_number_read(L, -2, dtype, &element))
            tn_number_refuse(L, -2, dtype, who, NULL);
        const gboolean whole = rows[i].counts || tn_dtype_info(dtype)->klass != TN_CLASS_FLOAT;
        if (whole && !tn_number_is_double(L, -2))
            tn_host_raise_text(L, TN_ERROR_DTYPE,
                               "%s is %" G_GINT64_FORMAT
                               "; an attribute holds whole numbers up to 2^53",
                               who, (gint64)lua_tointeger(L, -2));
        lua_pop(L, 2);
    }
}

/* --- To Lua ----------------------------------------------------------------------------------- */

void
tn_number_push(lua_State *L, TnDtype dtype, const void *element)
{
    double real;
    gint64 number;
    guint64 natural;
    char digits[24];
    switch (tn_dtype_info(dtype)->klass) {
    case TN_CLASS_FLOAT:
        tn_dtype_convert(TN_DTYPE_F64, &real, 1, dtype, element, 1, 1);
        lua_pushnumber(L, real);
        break;
    case TN_CLASS_INT:
        tn_dtype_convert(TN_DTYPE_I64, &number, 1, dtype, element, 1, 1);
        lua_pushinteger(L, number);
        break;
    case TN_CLASS_UINT:
        tn_dtype_convert(TN_DTYPE_U64, &natural, 1, dtype, element, 1, 1);
        if (natural <= G_MAXINT64) {
            lua_pushinteger(L, (lua_Integer)natural);
        } else {
            g_snprintf(digits, sizeof digits, "%" G_GUINT64_FORMAT, natural);
            lua_pushstring(L, digits);
        }
        break;
    case TN_CLASS_BOOL: lua_pushboolean(L, *(const guint8 *)element != 0); break;
    }
}
