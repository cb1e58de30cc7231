/* status.c: names of statuses, the error domain, and the way from one to the other. */
#include <tenon/status.h>

G_DEFINE_QUARK(tn - error - quark, tn_error)

typedef struct {
    const char *name;
    TnErrorCode code;
} StatusRow;

static const StatusRow rows[] = {
    [TN_OK] = { "ok", TN_ERROR_FAILED },
    [TN_AGAIN] = { "again", TN_ERROR_FAILED },
    [TN_EOS] = { "end-of-stream", TN_ERROR_FAILED },
    [TN_CANCELLED] = { "cancelled", TN_ERROR_CANCELLED },
    [TN_UNSUPPORTED] = { "unsupported", TN_ERROR_UNSUPPORTED },
    [TN_NO_MEMORY] = { "no-memory", TN_ERROR_NO_MEMORY },
    [TN_DEVICE_LOST] = { "device-lost", TN_ERROR_DEVICE },
    [TN_FAILED] = { "failed", TN_ERROR_FAILED },
};

const char *
tn_status_name(TnStatus status)
{
    return (guint)status < G_N_ELEMENTS(rows) ? rows[status].name : "unknown";
}

TnStatus
tn_error_status(const GError *error)
{
    if (!error || error->domain != TN_ERROR)
        return TN_FAILED;
    for (guint i = TN_CANCELLED; i < TN_FAILED; i++)
        if ((gint)rows[i].code == error->code)
            return (TnStatus)i;
    return TN_FAILED;
}

void
tn_status_set_error(GError **error, TnStatus status, const char *format, ...)
{
    if (!error)
        return;
    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    const TnErrorCode code =
        (guint)status < G_N_ELEMENTS(rows) ? rows[status].code : TN_ERROR_FAILED;
    g_set_error(error, TN_ERROR, code, "%s: %s", text, tn_status_name(status));
}

void
tn_error_prefix(GError **error, const char *format, ...)
{
    if (!error || !*error)
        return;
    va_list args;
    va_start(args, format);
    g_autofree char *prefix = g_strdup_vprintf(format, args);
    va_end(args);
    g_prefix_error(error, "%s: ", prefix);
}
