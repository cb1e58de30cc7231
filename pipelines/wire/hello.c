/* hello.c: the first words over a wire: what both ends must agree upon, and whether they can share
 * memory. */
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include <tenon/run.h>

#include "wire/end.h"

#define MOST_REFUSED 4096 /* connections of which is known that they were told why */

/* --- Hello ----------------------------------------------------------------------------------------- */

/* The machine's boot, the namespace that process numbers are of, and the user. */
char *
tn_hello_host(void)
{
    char space[64] = "";
    gsize size;
    char *boot = tn_file_read("/proc/sys/kernel/random/boot_id", 64, &size, NULL);
    const ssize_t n = readlink("/proc/self/ns/pid", space, sizeof space - 1);
    if (n < 0)
        g_strlcpy(space, "?", sizeof space);
    char *text =
        g_strdup_printf("%s %s %u", boot ? g_strchomp(boot) : "?", space, (guint)geteuid());
    tn_data_free(boot);
    return text;
}

/* {"hello": …, "about": …, "host": …, "block": …} */
static char *
hello_text(TnWire *wire, const TnBlockName *probe, gboolean shares)
{
    g_autoptr(TnValue) map = tn_value_map();
    tn_value_set(map, "hello", tn_value_copy(wire->hello));
    tn_value_set(map, "about", wire->about ? tn_value_copy(wire->about) : tn_value_map());
    tn_value_set(map, "host", tn_value_string(wire->host));
    tn_value_set(map, "shares", tn_value_bool(shares));
    if (probe) {
        g_autofree char *block = g_strdup_printf("%d/%d/%" G_GUINT64_FORMAT "/%" G_GUINT64_FORMAT,
                                                 probe->pid, probe->fd, probe->key, probe->bytes);
        tn_value_set(map, "block", tn_value_string(block));
    }
    return tn_json_print(map, FALSE);
}

static const char *
text_of(const TnValue *map, const char *key)
{
    const TnValue *value = tn_value_get(map, key);
    return value && tn_value_type(value) == TN_VALUE_STRING ? tn_value_get_string(value) : NULL;
}

/* Whether every item that must be agreed upon is; else both sides as text. */
static char *
disagreement(const TnWire *wire, const TnValue *theirs)
{
    g_autoptr(GString) text = g_string_new(NULL);
    for (gsize i = 0; i < tn_value_len(wire->hello); i++) {
        const char *key = tn_value_key_at(wire->hello, i);
        const TnValue *mine = tn_value_at(wire->hello, i);
        const TnValue *other =
            theirs && tn_value_type(theirs) == TN_VALUE_MAP ? tn_value_get(theirs, key) : NULL;
        if (other && tn_value_equal(mine, other))
            continue;
        g_autofree char *a = tn_json_print(mine, FALSE);
        g_autofree char *b = other ? tn_json_print(other, FALSE) : g_strdup("nothing");
        g_string_append_printf(text, "%s%s: the run's is %s, the stage's is %s",
                               text->len ? "; " : "", key, a, b);
    }
    return text->len ? g_string_free(g_steal_pointer(&text), FALSE) : NULL;
}

/* Whether a block of the peer's can be opened here. */
static gboolean
can_share(TnWire *wire, const TnValue *said)
{
    TnBlockName name = { 0 };
    const char *host = text_of(said, "host"), *block = text_of(said, "block");
    if (!tn_end_is_ipc(wire->end) || !host || !block || strcmp(host, wire->host) != 0 ||
        !tn_block_name_read(&name, block) || name.key == 0)
        return FALSE;
    TnBlockMaps *maps = tn_block_maps_new(NULL, NULL, NULL);
    g_autoptr(GError) error = NULL;
    TnStorage *storage = tn_block_maps_wrap(maps, &name, &error);
    const gboolean ok = storage != NULL;
    if (!ok)
        tn_log("wire", TN_LOG_INFO, "no shared memory: %s", error->message);
    tn_storage_unref(storage);
    tn_block_maps_free(maps);
    return ok;
}

static TnValue *
read_hello(const TnMessage *message)
{
    g_autoptr(GError) error = NULL;
    TnValue *said = tn_json_parse(message->text ? message->text : "", message->text_bytes, &error);
    if (said && tn_value_type(said) == TN_VALUE_MAP)
        return said;
    tn_value_unref(said);
    return NULL;
}

/* What a peer that has joined said: its hello with its about. (transfer full). */
static TnValue *
joined_map(const TnValue *said)
{
    static const char *const parts[] = { "hello", "about" };
    TnValue *map = tn_value_map();
    for (guint k = 0; k < G_N_ELEMENTS(parts); k++) {
        const TnValue *part = tn_value_get(said, parts[k]);
        for (gsize i = 0; part && tn_value_type(part) == TN_VALUE_MAP && i < tn_value_len(part);
             i++)
            tn_value_set(map, tn_value_key_at(part, i), tn_value_copy(tn_value_at(part, i)));
    }
    return map;
}

static guint64
random_session(void)
{
    guint64 session = 0;
    while (session == 0)
        if (getrandom(&session, sizeof session, 0) != sizeof session)
            session = (guint64)g_random_int() << 32 | g_random_int();
    return session;
}

/* Who goes on speaking may not read what it is told: answers would pile up. */
static gboolean
was_told(TnWire *wire, const guint8 *route, gsize size)
{
    g_autoptr(GBytes) bytes = g_bytes_new(route, size);
    if (g_hash_table_contains(wire->routes_refused, bytes))
        return TRUE;
    if (g_hash_table_size(wire->routes_refused) >= MOST_REFUSED) /* most of them are long gone */
        g_hash_table_remove_all(wire->routes_refused);
    g_hash_table_add(wire->routes_refused, g_steal_pointer(&bytes));
    return FALSE;
}

gboolean
tn_hello_refuse(TnWire *wire, const guint8 *route, gsize size, const char *text)
{
    if (was_told(wire, route, size))
        return FALSE;
    tn_count(&wire->counts.refused, 1);
    tn_wire_send_to(wire, route, size,
                    &(TnMessage){ .kind = TN_WIRE_REFUSE,
                                  .text = text,
                                  .text_bytes = MIN(strlen(text), TN_WIRE_MOST_TEXT) });
    return TRUE;
}

void
tn_hello_take(TnWire *wire, const guint8 *route, gsize size, const TnMessage *message)
{
    g_autoptr(TnValue) said = read_hello(message);
    g_autofree char *why = said ? disagreement(wire, tn_value_get(said, "hello"))
                                : g_strdup("its hello is no map of hello and about");
    if (why) {
        g_autofree char *text =
            g_strdup_printf("%s. Give both the same config, overrides and version", why);
        if (tn_hello_refuse(wire, route, size, text))
            tn_log("wire", TN_LOG_WARN, "%s: somebody was refused: %s", tn_wire_url(wire), why);
        else
            tn_count(&wire->counts.dropped, 1);
        return;
    }
    const gboolean shares = can_share(wire, said);
    const guint64 session = random_session();
    g_autofree char *text = hello_text(wire, NULL, shares);
    if (tn_wire_send_to(wire, route, size,
                        &(TnMessage){ .kind = TN_WIRE_WELCOME,
                                      .number = session,
                                      .text = text,
                                      .text_bytes = strlen(text) }) != 0)
        return; /* gone already */
    TnPeer *peer = tn_wire_add_peer(wire, route, size, session, shares);
    tn_count(&wire->counts.joined, 1);
    tn_wire_push(
        wire, (TnWireEvent){ .kind = TN_WIRE_JOINED, .peer = peer->id, .hello = joined_map(said) });
}

gboolean
tn_hello_say(TnWire *wire)
{
    TnBlockName probe = { 0 };
    void *memory;
    if (tn_end_is_ipc(wire->end) && !wire->probe)
        wire->probe = tn_blocks_new(TN_BLOCK_HEAD);
    if (wire->probe) {
        tn_blocks_release_all(wire->probe);
        if (!tn_blocks_take(wire->probe, 1, &probe, &memory, NULL))
            probe.key = 0;
    }
    g_autofree char *text = hello_text(wire, probe.key ? &probe : NULL, FALSE);
    if (strlen(text) > TN_WIRE_MOST_TEXT && !wire->error)
        g_set_error(&wire->error, TN_ERROR, TN_ERROR_UNSUPPORTED,
                    "%s: what this end says of itself has %zu bytes; %u at most can be said",
                    tn_wire_url(wire), strlen(text), TN_WIRE_MOST_TEXT);
    return tn_wire_send_to(
               wire, NULL, 0,
               &(TnMessage){ .kind = TN_WIRE_HELLO, .text = text, .text_bytes = strlen(text) }) ==
           0;
}

void
tn_hello_welcome(TnWire *wire, const TnMessage *message)
{
    g_autoptr(TnValue) said = read_hello(message);
    if (!said || message->number == 0 || wire->peers->len) {
        tn_count(&wire->counts.dropped, 1);
        return;
    }
    const TnValue *shares = tn_value_get(said, "shares");
    const gboolean share = wire->probe && shares && tn_value_type(shares) == TN_VALUE_BOOL &&
                           tn_value_get_bool(shares);
    wire->next_peer = 0; /* the server is always 0 */
    tn_wire_add_peer(wire, (const guint8 *)"", 0, message->number, share);
    tn_count(&wire->counts.joined, 1);
    tn_wire_push(wire,
                 (TnWireEvent){ .kind = TN_WIRE_JOINED, .peer = 0, .hello = joined_map(said) });
}
