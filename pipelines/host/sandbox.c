/* sandbox.c: what a config may use of Lua.
 *
 * Taken away unless trusted: debug, os but for the clock and the calendar, everything of io but
 * reading files, package, loadfile, dofile, string.dump, chunks in binary, finalisers (they run
 * without hooks). `require` finds what require.c says. `print` writes to stderr: stdout belongs to the
 * program. */
#include "host-private.h"
#include <tenon/base.h>

#include <string.h>
#include <unistd.h>

/* --- Guarded functions ------------------------------------------------------------------------ */

/* load(chunk, name, "t", env): never binary. Lua's own is upvalue 1. */
static int
guarded_load(lua_State *L)
{
    lua_settop(L, 4);
    const gboolean has_env = !lua_isnil(L, 4);
    lua_pushstring(L, "t");
    lua_replace(L, 3);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_settop(L, has_env ? 5 : 4);
    lua_call(L, has_env ? 4 : 3, LUA_MULTRET);
    return lua_gettop(L);
}

/* setmetatable(t, mt) without __gc. Lua's own is upvalue 1. */
static int
guarded_setmetatable(lua_State *L)
{
    if (lua_type(L, 2) == LUA_TTABLE) {
        lua_pushstring(L, "__gc");
        if (lua_rawget(L, 2) != LUA_TNIL)
            return tn_host_raise_text(
                L, TN_ERROR_CONFIG,
                "setmetatable: a config has no finalisers (__gc); use a local with <close>");
        lua_settop(L, 2);
    }
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
    return lua_gettop(L);
}

/* io.open(name, mode) to read. Lua's own is upvalue 1. */
static int
guarded_open(lua_State *L)
{
    const char *mode = luaL_optstring(L, 2, "r");
    if (strcmp(mode, "r") != 0 && strcmp(mode, "rb") != 0)
        return tn_host_raise_text(L, TN_ERROR_CONFIG,
                                  "io.open: mode '%s': a config may only read files; --trust lifts "
                                  "this",
                                  mode);
    const int pushed = tn_host_push_file(L, luaL_checkstring(L, 1));
    if (pushed)
        return pushed;
    lua_settop(L, 1);
    lua_pushstring(L, mode);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, 2, LUA_MULTRET);
    return lua_gettop(L);
}

/* io.lines(name, …). Lua's own is upvalue 1. */
static int
guarded_lines(lua_State *L)
{
    const int n = lua_gettop(L);
    const int pushed = n > 0 && !lua_isnil(L, 1) ? tn_host_push_file(L, luaL_checkstring(L, 1)) : 0;
    if (pushed > 1) /* nil, why, errno */
        return luaL_error(L, "%s", lua_tostring(L, -2));
    if (pushed == 0) {
        lua_pushvalue(L, lua_upvalueindex(1));
        lua_insert(L, 1);
        lua_call(L, n, LUA_MULTRET);
        return lua_gettop(L);
    }
    lua_replace(L, 1); /* file:lines(…), and what a generic `for` closes at its end */
    lua_getfield(L, 1, "lines");
    for (int i = 1; i <= n; i++)
        lua_pushvalue(L, i);
    lua_call(L, n, 1);
    lua_pushnil(L);
    lua_pushnil(L);
    lua_pushvalue(L, 1);
    return 4;
}

/* os.time([table]), os.date([format [, time]]): until the job runs, now is when the run first
 * began. Lua's own is upvalue 1. */
static int
guarded_time(lua_State *L)
{
    TnHost *host = tn_host_of(L);
    lua_settop(L, 1);
    if (!host->settled && lua_isnil(L, 1)) {
        host->asked_time = TRUE;
        lua_pushinteger(L, tn_host_load_time(host));
        return 1;
    }
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, 1, 1);
    return 1;
}

static int
guarded_date(lua_State *L)
{
    TnHost *host = tn_host_of(L);
    lua_settop(L, 2);
    if (!host->settled && lua_isnil(L, 2)) {
        host->asked_time = TRUE;
        lua_pushinteger(L, tn_host_load_time(host));
        lua_replace(L, 2);
    }
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, 2, 1);
    return 1;
}

/* math.randomseed(…): without a seed Lua takes the clock's, which no resumed run would find again;
 * here the call's number is it. Lua's own is upvalue 1, the number upvalue 2. */
static int
guarded_randomseed(lua_State *L)
{
    if (lua_gettop(L) == 0) {
        const lua_Integer number = lua_tointeger(L, lua_upvalueindex(2)) + 1;
        lua_pushinteger(L, number);
        lua_copy(L, -1, lua_upvalueindex(2));
    }
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
    return lua_gettop(L);
}

static int
print(lua_State *L)
{
    const int n = lua_gettop(L);
    const char *term = isatty(STDERR_FILENO) ? g_getenv("TERM") : NULL;
    if (term && strcmp(term, "dumb") != 0)
        fputs("\r\033[K", stderr); /* a line of progress that may stand there */
    for (int i = 1; i <= n; i++) {
        size_t size;
        const char *text = luaL_tolstring(L, i, &size);
        if (i > 1)
            fputc('\t', stderr);
        fwrite(text, 1, size, stderr);
        lua_pop(L, 1);
    }
    fputc('\n', stderr);
    return 0;
}

/* A function that says why it is not there: the name is upvalue 1. */
static int
forbidden(lua_State *L)
{
    return tn_host_raise_text(L, TN_ERROR_CONFIG, "%s is not for configs; --trust lifts this",
                              lua_tostring(L, lua_upvalueindex(1)));
}

/* --- The libraries ---------------------------------------------------------------------------- */

/* Fields that stay; all others of these libraries say that they are forbidden. */
static const char *const kept_io[] = { "lines", "type", NULL };
static const char *const kept_os[] = { "time", "clock", "date", "difftime", NULL };
static const char *const gone[] = { "dofile", "loadfile", NULL };

static void
forbid(lua_State *L, int table, const char *library, const char *name)
{
    table = lua_absindex(L, table);
    lua_pushfstring(L, "%s%s%s", library, *library ? "." : "", name);
    lua_pushcclosure(L, forbidden, 1);
    lua_setfield(L, table, name);
}

/* Makes a new table with what is kept of library `name`, the rest forbidden, and puts it in
 * place. */
static void
thin(lua_State *L, const char *name, const char *const *kept)
{
    lua_getglobal(L, name);
    const int old = lua_gettop(L);
    lua_newtable(L);
    for (lua_pushnil(L); lua_next(L, old); lua_pop(L, 1))
        if (lua_type(L, -2) == LUA_TSTRING && lua_isfunction(L, -1))
            forbid(L, old + 1, name, lua_tostring(L, -2));
    for (; *kept; kept++) {
        lua_getfield(L, old, *kept);
        lua_setfield(L, old + 1, *kept);
    }
    lua_setglobal(L, name);
    lua_remove(L, old);
}

/* Puts guard, with the present function as its upvalue, in the place of table.name (global if
 * library is NULL). */
static void
guard(lua_State *L, const char *library, const char *name, lua_CFunction function)
{
    if (library)
        lua_getglobal(L, library);
    else
        lua_pushglobaltable(L);
    lua_getfield(L, -1, name);
    lua_pushcclosure(L, function, 1);
    lua_setfield(L, -2, name);
    lua_pop(L, 1);
}

static void
close_doors(lua_State *L)
{
    lua_getglobal(L, "io");
    lua_getfield(L, -1, "open");
    thin(L, "io", kept_io);
    lua_getglobal(L, "io");
    lua_insert(L, -2);
    lua_pushcclosure(L, guarded_open, 1);
    lua_setfield(L, -2, "open");
    lua_pop(L, 2);
    guard(L, "io", "lines", guarded_lines);
    thin(L, "os", kept_os);
    guard(L, "os", "time", guarded_time);
    guard(L, "os", "date", guarded_date);
    guard(L, NULL, "load", guarded_load);
    guard(L, NULL, "setmetatable", guarded_setmetatable);
    lua_pushglobaltable(L);
    for (guint i = 0; gone[i]; i++)
        forbid(L, -1, "", gone[i]);
    lua_pushnil(L);
    lua_setfield(L, -2, "package");
    lua_pop(L, 1);
    lua_getglobal(L, "string");
    forbid(L, -1, "string", "dump");
    lua_pop(L, 1);
}

int
tn_host_open_libs(lua_State *L)
{
    static const luaL_Reg safe[] = {
        { LUA_GNAME, luaopen_base },          { LUA_LOADLIBNAME, luaopen_package },
        { LUA_COLIBNAME, luaopen_coroutine }, { LUA_TABLIBNAME, luaopen_table },
        { LUA_IOLIBNAME, luaopen_io },        { LUA_OSLIBNAME, luaopen_os },
        { LUA_STRLIBNAME, luaopen_string },   { LUA_MATHLIBNAME, luaopen_math },
        { LUA_UTF8LIBNAME, luaopen_utf8 },
    };
    TnHost *host = tn_host_of(L);
    for (guint i = 0; i < G_N_ELEMENTS(safe); i++) {
        luaL_requiref(L, safe[i].name, safe[i].func, 1);
        lua_pop(L, 1);
    }
    /* Lua begins at a random place, which no resumed run would find again. */
    lua_getglobal(L, "math");
    lua_getfield(L, -1, "randomseed");
    lua_pushvalue(L, -1);
    lua_pushinteger(L, 0);
    lua_call(L, 1, 0);
    lua_pushinteger(L, 0);
    lua_pushcclosure(L, guarded_randomseed, 2);
    lua_setfield(L, -2, "randomseed");
    lua_pop(L, 1);
    if (host->trust) {
        luaL_requiref(L, LUA_DBLIBNAME, luaopen_debug, 1);
        lua_pop(L, 1);
    }
    /* Not Lua's own table of loaded modules: that one has the libraries with all their
     * functions. */
    luaL_getsubtable(L, LUA_REGISTRYINDEX, TN_LOADED);
    if (host->trust)
        lua_getglobal(L, "require");
    else
        lua_pushnil(L);
    lua_pushcclosure(L, tn_host_require, 2);
    lua_setglobal(L, "require");
    lua_pushcfunction(L, print);
    lua_setglobal(L, "print");
    if (!host->trust)
        close_doors(L);
    return 0;
}
