/* key.h: CURVE keys by name, and who is let in with them.
 *
 * `tenon key new NAME` makes a pair in the user's config folder, XDG_CONFIG_HOME/tenon/keys:
 * NAME.key (public and secret, mode 0600) and NAME.pub (public). Both ends of a wire name the same
 * pair: whoever has NAME.key may serve and join. */
#pragma once

#include <tenon/status.h>

typedef struct {
    char name[64];
    char public_key[41], secret_key[41]; /* Z85 */
} TnKey;

/* The folder of keys. (transfer full): g_free. */
TN_API char *tn_key_folder(void);
/* Names in that folder with a NAME.key or a NAME.pub, sorted; whether they can be used is not looked
 * at. (transfer full): of char *. */
TN_API GPtrArray *tn_key_names(void);
/* A name is 1 to 63 of a-z, A-Z, 0-9, '.', '_', '-', and does not begin with '.'. TN_ERROR_USAGE. */
TN_API gboolean tn_key_check_name(const char *name, GError **error);
/* Makes a pair and writes both files, the secret one readable by the user alone from the first moment.
 * TN_ERROR_USAGE if there is one of that name. */
TN_API gboolean tn_key_make(const char *name, TnKey *key, GError **error);
/* TN_ERROR_NOT_FOUND says the file and `tenon key new NAME`; TN_ERROR_CORRUPT; TN_ERROR_USAGE if
 * others can read it (as ssh does) or it is a link. */
TN_API gboolean tn_key_load(const char *name, TnKey *key, GError **error);
/* What NAME.pub says: a key without its secret, with which nobody can serve or join. */
TN_API gboolean tn_key_load_public(const char *name, TnKey *key, GError **error);
/* Overwrites the secret. */
TN_API void tn_key_clear(TnKey *key);
/* The 32 bytes that a half of a key stands for; FALSE if it is not 40 characters of Z85. */
TN_API gboolean tn_key_bytes(const char *z85, guint8 bytes[32]);

/* --- Who is let in: ZeroMQ's authentication (ZAP, RFC 27) of one ZeroMQ context ---------------- */
/* A thread answers for each connection to a socket of the context with a ZAP domain: yes if its
 * public key is one that was let in for the domain, else no, which is counted. Such a socket sets
 * ZMQ_ZAP_ENFORCE_DOMAIN too: without it ZeroMQ lets everybody in while nobody answers. */
typedef struct TnDoor TnDoor;
/* context: of zmq_ctx_new. (transfer full). Before sockets are bound. TN_ERROR_BUSY if it has a door. */
TN_API TnDoor *tn_door_new(void *context, GError **error);
/* After the sockets are closed, before the context is ended (zmq_ctx_shutdown may have been called).
 * NULL is allowed. */
TN_API void tn_door_free(TnDoor *door);
/* Thread: any. */
TN_API void tn_door_let_in(TnDoor *door, const char *domain, const char *public_key);
/* Nobody is let in any more; who is in stays. Thread: any. */
TN_API void tn_door_close_domain(TnDoor *door, const char *domain);
/* Connections refused so far for a domain to which somebody was let in once; NULL: all, also those
 * for other domains and requests that make no sense. Thread: any. */
TN_API guint64 tn_door_refused(TnDoor *door, const char *domain);
/* Counts one that failed before the door was asked: a peer that does not speak CURVE, or speaks it
 * with another server's key, ends as ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL of the socket's monitor.
 * Thread: any. */
TN_API void tn_door_count(TnDoor *door, const char *domain);
