/* status.h: what a hot call returns, and the error domain of set-up calls. */
#pragma once

#include <tenon/types.h>

G_BEGIN_DECLS

/* Result of a call on the hot path (kernel, exec, stage turn). The detail stays in the object. */
typedef enum {
    TN_OK = 0,
    TN_AGAIN,       /* nothing to do now; call again */
    TN_EOS,         /* the source is exhausted */
    TN_CANCELLED,   /* somebody asked to stop */
    TN_UNSUPPORTED, /* cannot be done by this object */
    TN_NO_MEMORY,
    TN_DEVICE_LOST, /* the device does not answer any more; its objects are useless */
    TN_FAILED,      /* see the object's error */
} TnStatus;

/* The status's name in lower case, such as "no-memory"; (transfer none), static. Thread: any. */
TN_API const char *tn_status_name(TnStatus status);

/* Domain of every GError that libtenon sets. */
#define TN_ERROR (tn_error_quark())
TN_API GQuark tn_error_quark(void);

typedef enum {
    TN_ERROR_FAILED = 0,
    TN_ERROR_USAGE,  /* wrong command line or call: exit code 2 */
    TN_ERROR_CONFIG, /* wrong option, type, range, name in a config: exit code 2 */
    TN_ERROR_SHAPE,  /* shapes do not fit; the message names the operator, the input, both shapes */
    TN_ERROR_DTYPE,
    TN_ERROR_NOT_FOUND,   /* no plugin, operator, component, file of that name */
    TN_ERROR_UNSUPPORTED, /* exists, but cannot do this here */
    TN_ERROR_IO,          /* the system refused: the message holds the path and strerror's text */
    TN_ERROR_CORRUPT,     /* a file or message is not what it says it is; names file and offset */
    TN_ERROR_VERSION,     /* unknown newer version; both numbers in the message */
    TN_ERROR_NO_MEMORY,
    TN_ERROR_CANCELLED,
    TN_ERROR_DEVICE,
    TN_ERROR_PLUGIN,  /* a plugin could not be opened, described or initialised */
    TN_ERROR_NUMERIC, /* NaN or infinity where it stops the work */
    TN_ERROR_BUSY,    /* somebody else holds it (a run folder, a port) */
} TnErrorCode;

/* Puts "PREFIX: " before the message of *error if it is set. Thread: any. */
TN_API void tn_error_prefix(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* The status that best carries an error of the given code over a hot call. Thread: any. */
TN_API TnStatus tn_error_status(const GError *error);

/* Sets *error (domain TN_ERROR) from a status with the given text before the status's name.
 * Thread: any. */
TN_API void tn_status_set_error(GError **error, TnStatus status, const char *format, ...)
    G_GNUC_PRINTF(3, 4);

G_END_DECLS
