/* key.h: CURVE keys by name, and who is let in with them.
 *
 * `tenon key new NAME` makes a pair in the user's config folder, XDG_CONFIG_HOME/tenon/keys:
 * NAME.key (public and secret, mode 0600) and NAME.pub (public). Both ends of a wire name the same
 * pair: whoever has NAME.key may serve and join. */
#pragma once

#include <glib.h>

typedef struct {
    char name[64];
    char public_key[41], secret_key[41]; /* Z85 */
} TnKey;

/* The folder of keys. (transfer full): g_free. */
char *tn_key_folder(void);
/* A name is 1 to 63 of a-z, A-Z, 0-9, '.', '_', '-', and does not begin with '.'. TN_ERROR_USAGE. */
gboolean tn_key_check_name(const char *name, GError **error);
/* Makes a pair and writes both files, the secret one readable by the user alone from the first moment.
 * TN_ERROR_USAGE if there is one of that name. */
gboolean tn_key_make(const char *name, TnKey *key, GError **error);
/* TN_ERROR_NOT_FOUND says the file and `tenon key new NAME`; TN_ERROR_CORRUPT; TN_ERROR_USAGE if
 * others can read it (as ssh does). */
gboolean tn_key_load(const char *name, TnKey *key, GError **error);
/* Overwrites the secret. */
void tn_key_clear(TnKey *key);

/* --- Who is let in: ZeroMQ's authentication (ZAP, RFC 27) of one ZeroMQ context ---------------- */
/* A thread answers for each connection to a socket of the context with a ZAP domain: yes if its
 * public key is one that was let in for the domain, else no, which is counted. */
typedef struct TnDoor TnDoor;
/* context: of zmq_ctx_new. (transfer full). Before sockets are bound. */
TnDoor *tn_door_new(void *context, GError **error);
/* Before the context is ended. */
void tn_door_free(TnDoor *door);
/* Thread: any. */
void tn_door_let_in(TnDoor *door, const char *domain, const char *public_key);
void tn_door_close_domain(TnDoor *door, const char *domain);
/* Connections refused so far for the domain. Thread: any. */
guint64 tn_door_refused(TnDoor *door, const char *domain);
