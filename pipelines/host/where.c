/* where.c: finds the line a key of a constructor was written on.
 *
 * Lua knows only the line where a call begins. So the file is read again from there, by a small
 * scanner that knows strings, comments, brackets and blocks, and the keys of the table that follows
 * the constructor's name are noted. */
#include "host-private.h"
#include <tenon/base.h>

#include <string.h>

TnWhere
tn_host_where(lua_State *L)
{
    lua_Debug ar;
    for (int level = 0; lua_getstack(L, level, &ar); level++)
        if (lua_getinfo(L, "Sl", &ar) && ar.currentline > 0 && ar.source[0] == '@')
            return (TnWhere){ tn_intern(ar.source + 1), ar.currentline };
    return (TnWhere){ NULL, 0 };
}

const char *
tn_host_source(TnHost *host, const char *file)
{
    return file ? g_hash_table_lookup(host->sources, file) : NULL;
}

/* --- Scanner ---------------------------------------------------------------------------------- */

typedef enum { TOKEN_END, TOKEN_NAME, TOKEN_STRING, TOKEN_NUMBER, TOKEN_SYMBOL } TokenType;
typedef struct {
    const char *at;
    gint line;
    TokenType type;
    const char *begin; /* of the token, quotes included */
    gsize length;
    gint token_line;
} Scan;

/* Length of "[==[" at s, 0 if there is none; *level counts the '='. */
static gsize
long_bracket(const char *s, gsize *level)
{
    gsize n = 1;
    if (*s != '[')
        return 0;
    while (s[n] == '=')
        n++;
    *level = n - 1;
    return s[n] == '[' ? n + 1 : 0;
}

static void
skip_long(Scan *scan, gsize open, gsize level)
{
    for (scan->at += open; *scan->at; scan->at++) {
        if (*scan->at == '\n')
            scan->line++;
        if (*scan->at != ']')
            continue;
        gsize n = 1;
        while (scan->at[n] == '=')
            n++;
        if (n == level + 1 && scan->at[n] == ']') {
            scan->at += n + 1;
            return;
        }
    }
}

static void
skip_blank(Scan *scan)
{
    gsize level, open;
    for (;; scan->at++) {
        if (*scan->at == '\n')
            scan->line++;
        while (scan->at[0] == '-' && scan->at[1] == '-') {
            scan->at += 2;
            if ((open = long_bracket(scan->at, &level)))
                skip_long(scan, open, level);
            else
                scan->at += strcspn(scan->at, "\n");
            if (*scan->at == '\n')
                scan->line++;
        }
        if (!*scan->at || !g_ascii_isspace(*scan->at))
            return;
    }
}

static void
skip_string(Scan *scan)
{
    const char quote = *scan->at++;
    while (*scan->at && *scan->at != quote && *scan->at != '\n') {
        if (*scan->at == '\\' && scan->at[1]) {
            scan->at++;
            if (*scan->at == '\n')
                scan->line++;
        }
        scan->at++;
    }
    if (*scan->at == quote)
        scan->at++;
}

static TokenType
next(Scan *scan)
{
    gsize level, open;
    skip_blank(scan);
    scan->begin = scan->at;
    scan->token_line = scan->line;
    const char c = *scan->at;
    if (!c) {
        scan->type = TOKEN_END;
    } else if (g_ascii_isalpha(c) || c == '_') {
        while (g_ascii_isalnum(*scan->at) || *scan->at == '_')
            scan->at++;
        scan->type = TOKEN_NAME;
    } else if (g_ascii_isdigit(c)) {
        while (g_ascii_isalnum(*scan->at) || *scan->at == '.' ||
               (strchr("+-", *scan->at) && *scan->at && strchr("eEpP", scan->at[-1])))
            scan->at++;
        scan->type = TOKEN_NUMBER;
    } else if (c == '"' || c == '\'') {
        skip_string(scan);
        scan->type = TOKEN_STRING;
    } else if ((open = long_bracket(scan->at, &level))) {
        skip_long(scan, open, level);
        scan->type = TOKEN_STRING;
    } else {
        scan->at += (c == '=' && scan->at[1] == '=') ? 2 : 1;
        scan->type = TOKEN_SYMBOL;
    }
    scan->length = (gsize)(scan->at - scan->begin);
    return scan->type;
}

static gboolean
is(const Scan *scan, const char *text)
{
    return scan->length == strlen(text) && strncmp(scan->begin, text, scan->length) == 0;
}

/* --- Tables ----------------------------------------------------------------------------------- */

/* Change of depth by a token: brackets, and blocks that end with `end` or `until`. */
static gint
depth_of(const Scan *scan)
{
    static const char *const openers[] = { "function", "do", "if", "repeat" };
    static const char *const closers[] = { "end", "until" };
    if (scan->type == TOKEN_SYMBOL)
        return strchr("({[", *scan->begin) ? 1 : strchr(")}]", *scan->begin) ? -1 : 0;
    if (scan->type != TOKEN_NAME)
        return 0;
    for (guint i = 0; i < G_N_ELEMENTS(openers); i++)
        if (is(scan, openers[i]))
            return 1;
    for (guint i = 0; i < G_N_ELEMENTS(closers); i++)
        if (is(scan, closers[i]))
            return -1;
    return 0;
}

static void read_table(Scan *scan, const char *prefix, GHashTable *lines, guint nesting);

/* Goes on to the comma or brace that ends an item; TRUE at a comma. The present token is the item's
 * first. */
static gboolean
skip_item(Scan *scan)
{
    gint depth = 0;
    for (; scan->type != TOKEN_END; next(scan)) {
        if (depth == 0 && scan->type == TOKEN_SYMBOL) {
            if (*scan->begin == ',' || *scan->begin == ';')
                return TRUE;
            if (*scan->begin == '}')
                return FALSE;
        }
        depth += depth_of(scan);
    }
    return FALSE;
}

/* A key of the forms name = and ["name"] =, or NULL; moves to the value's first token if there is
 * one. */
static char *
read_key(Scan *scan)
{
    Scan ahead = *scan;
    g_autofree char *key = NULL;
    if (scan->type == TOKEN_NAME) {
        key = g_strndup(scan->begin, scan->length);
    } else if (scan->type == TOKEN_SYMBOL && *scan->begin == '[') {
        if (next(&ahead) != TOKEN_STRING || ahead.length < 2)
            return NULL;
        key = g_strndup(ahead.begin + 1, ahead.length - 2);
        next(&ahead);
        if (!is(&ahead, "]"))
            return NULL;
    } else {
        return NULL;
    }
    next(&ahead);
    if (!is(&ahead, "="))
        return NULL;
    next(&ahead);
    *scan = ahead;
    return g_steal_pointer(&key);
}

/* The tokens behind a '{' up to its '}'. */
static void
read_table(Scan *scan, const char *prefix, GHashTable *lines, guint nesting)
{
    guint index = 0;
    gboolean more = TRUE;
    next(scan);
    while (more && scan->type != TOKEN_END && !is(scan, "}")) {
        const gint line = scan->token_line;
        g_autofree char *key = read_key(scan);
        g_autofree char *path = key ? g_strconcat(prefix, *prefix ? "." : "", key, NULL)
                                    : g_strdup_printf("%s[%u]", prefix, ++index);
        if (is(scan, "{") && scan->type == TOKEN_SYMBOL && nesting < 32) {
            read_table(scan, path, lines, nesting + 1);
            next(scan);
        }
        g_hash_table_insert(lines, g_steal_pointer(&path), GINT_TO_POINTER(line));
        more = skip_item(scan);
        if (more)
            next(scan);
    }
}

static guint
missing(GHashTable *lines, const char *const *keys, guint n_keys)
{
    guint n = 0;
    for (guint i = 0; i < n_keys; i++)
        n += !g_hash_table_contains(lines, keys[i]);
    return n;
}

/* Takes lines if it fits better than *best. */
static void
offer(GHashTable **best, guint *best_missing, GHashTable *lines, const char *const *keys,
      guint n_keys)
{
    const guint n = missing(lines, keys, n_keys);
    if (*best && n >= *best_missing) {
        g_hash_table_unref(lines);
        return;
    }
    g_clear_pointer(best, g_hash_table_unref);
    *best = lines;
    *best_missing = n;
}

GHashTable *
tn_source_lines(const char *text, gint line, const char *name, const char *const *keys,
                guint n_keys)
{
    GHashTable *best = NULL;
    guint best_missing = 0;
    Scan scan = { .at = text, .line = 1 };
    while (scan.line < line && *scan.at)
        if (*scan.at++ == '\n')
            scan.line++;
    next(&scan);
    while (scan.type != TOKEN_END && scan.token_line <= line) {
        const gboolean named = scan.type == TOKEN_NAME && is(&scan, name);
        next(&scan);
        if (!named)
            continue;
        Scan ahead = scan;
        if (is(&ahead, "("))
            next(&ahead);
        if (!is(&ahead, "{"))
            continue;
        GHashTable *lines = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        read_table(&ahead, "", lines, 0);
        offer(&best, &best_missing, lines, keys, n_keys);
    }
    if (best && n_keys && best_missing == n_keys)
        g_clear_pointer(&best, g_hash_table_unref);
    return best;
}
