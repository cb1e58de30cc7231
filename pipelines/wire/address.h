/* address.h: what `place` may say, and where a wire is.
 *
 *     ipc                 of this host, for the processes of one run: a private name
 *     ipc://NAME          of this host: a socket of that name in the user's folder of sockets
 *     tcp://HOST:PORT     HOST: a name, an IPv4 address, [an IPv6 address], * for all of this host
 *                         PORT: 1 to 65535, * for one that is free
 *
 * The sockets of ipc lie in $XDG_RUNTIME_DIR/tenon, else /tmp/tenon-UID, which is the user's alone. */
#pragma once

#include <tenon/status.h>

typedef enum { TN_ADDRESS_IPC, TN_ADDRESS_TCP } TnAddressKind;

typedef struct {
    TnAddressKind kind;
    char name[41];    /* ipc; "": a private one */
    char host[254];   /* tcp: without brackets; "*": all of this host */
    gboolean is_ipv6; /* tcp: host was in brackets */
    guint16 port;     /* tcp; 0: any that is free */
} TnAddress;

/* What is said of a tcp place that has neither a key nor `insecure`. */
#define TN_ADDRESS_WANTS_KEY                                                                       \
    "tcp wants a key, which both hosts have: `tenon key new NAME`, then key = \"NAME\"; or "       \
    "insecure = true where every host of the network may read and change what goes over it"

/* Takes a place apart; TN_ERROR_CONFIG says what was expected, with an example. Nothing is looked up. */
TN_API gboolean tn_address_parse(const char *place, TnAddress *address, GError **error);

/* The folder of sockets, made where it is missing. TN_ERROR_USAGE if it is not the user's, is a
 * link, or others may enter it. (transfer full): g_free. */
TN_API char *tn_address_folder(GError **error);

/* The ZeroMQ url to bind (serve) or to connect to. A private address gets a new name each time. A
 * host's name that is served becomes its number, IPv4 before IPv6, since ZeroMQ binds no names.
 * TN_ERROR_CONFIG: a name that does not resolve; * or a private address to connect to; a path
 * that is longer than a socket's may be. (transfer full): g_free. */
TN_API char *tn_address_url(const TnAddress *address, gboolean serve, GError **error);

/* Whether a url can be served. Of ipc: TN_ERROR_BUSY if somebody does; a socket at which nobody
 * answers is left of a process that was killed, and is removed; anything else of that name stays and
 * is an error, since ZeroMQ would remove it. Of tcp: the host resolves (TN_ERROR_CONFIG); whether the
 * port is free is told by bind. Two that serve the same ipc name at the same moment are not told
 * apart. */
TN_API gboolean tn_address_check_serve(const char *url, GError **error);
/* Whether a url can be connected to, were somebody there: of ipc its folder is the user's alone, of
 * tcp the host resolves. */
TN_API gboolean tn_address_check_join(const char *url, GError **error);

/* Removes the socket of a url that was served: ZeroMQ leaves it. When the context has ended (a socket
 * that is closed listens a little longer); one at which somebody answers stays. Of tcp: nothing. */
TN_API void tn_address_remove(const char *url);

/* Removes sockets in the folder at which nobody answers, left of processes that were killed; how
 * many there were. Nothing else is touched. */
TN_API guint tn_address_sweep(void);
