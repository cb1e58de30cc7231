/* tensorboard.c: the logger that writes event files for TensorBoard: scalars, texts, histograms.
 *
 * Messages: tensorflow.Event {1 wall_time, 2 step, 3 file_version, 5 summary}, Summary {1 value},
 * Summary.Value {1 tag, 2 simple_value, 5 histo, 8 tensor, 9 metadata}. A resumed run begins a file
 * of its own, which TensorBoard joins; what the killed one wrote beyond the checkpoint is hidden by
 * a SESSION_START event at the step that goes on. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include <tenon/base.h>
#include <tenon/logger.h>

#include "wire.h"

typedef struct {
    double flush;
    const char *folder;
} BoardOptions;

typedef struct {
    TnConfig *config;
    const BoardOptions *options;
    int fd;
    char *path;
    GByteArray *pending;
    gint64 flushed;   /* monotonic µs */
    gboolean resumed; /* and the first record is still to come */
} Board;

static const TnOption rows[] = {
    { .name = "flush",
      .type = TN_OPT_DURATION,
      .offset = G_STRUCT_OFFSET(BoardOptions, flush),
      .dflt = "5",
      TN_RANGE_F(0, 3600),
      .unit = "s",
      .help = "write to the file at least this often" },
    { .name = "folder",
      .type = TN_OPT_PATH,
      .offset = G_STRUCT_OFFSET(BoardOptions, folder),
      .flags = TN_OPTION_NULLABLE | TN_OPTION_OUTPUT,
      .help = "where the event file goes; nothing: the run's folder" },
};

#define PENDING_LIMIT (256 * 1024)

/* All that is pending, or nothing of it: readers stop for good at half a record. */
static gboolean
write_pending(Board *board, GError **error)
{
    const off_t whole = lseek(board->fd, 0, SEEK_END);
    const gboolean ok =
        tn_file_write_all(board->fd, board->path, board->pending->data, board->pending->len, error);
    if (!ok && whole >= 0 && ftruncate(board->fd, whole) < 0)
        tn_log("tensorboard", TN_LOG_WARN, "%s: ends in half a record: %s", board->path,
               g_strerror(errno));
    g_byte_array_set_size(board->pending, 0);
    board->flushed = g_get_monotonic_time();
    return ok;
}

static TnStatus
board_flush(void *self)
{
    Board *board = self;
    g_autoptr(GError) error = NULL;
    if (board->fd < 0 || board->pending->len == 0 || write_pending(board, &error))
        return TN_OK;
    tn_log("tensorboard", TN_LOG_WARN, "%s", error->message);
    return TN_FAILED;
}

static TnStatus
put_event(Board *board, GByteArray *event)
{
    g_autoptr(GByteArray) frame = wire_frame(event);
    g_byte_array_append(board->pending, frame->data, frame->len);
    gboolean due = g_get_monotonic_time() - board->flushed > (gint64)(board->options->flush * 1e6);
    return due || board->pending->len > PENDING_LIMIT ? board_flush(board) : TN_OK;
}

static GByteArray *
event_new(double time, guint64 step)
{
    GByteArray *event = g_byte_array_new();
    wire_double(event, 1, time);
    if (step)
        wire_varint(event, 2, step);
    return event;
}

static void *
board_create(TnConfig *config, TnContext *context, GError **error)
{
    Board *board = g_new0(Board, 1);
    (void)context;
    (void)error;
    board->config = tn_config_ref(config);
    board->options = tn_config_data(config);
    board->fd = -1;
    board->pending = g_byte_array_new();
    return board;
}

static void
board_destroy(void *self)
{
    Board *board = self;
    if (board->fd >= 0)
        close(board->fd);
    g_byte_array_unref(board->pending);
    tn_config_unref(board->config);
    g_free(board->path);
    g_free(board);
}

static gboolean
board_open(void *self, const char *folder, gboolean resumed, GError **error)
{
    Board *board = self;
    folder = board->options->folder ? board->options->folder : folder;
    if (!folder)
        return TRUE; /* nothing is kept of this run */
    double now = (double)g_get_real_time() * 1e-6;
    for (guint n = 0; board->fd < 0 && n < 1000; n++) {
        g_autofree char *name =
            g_strdup_printf("events.out.tfevents.%010" G_GINT64_FORMAT ".%s.%d.%u", (gint64)now,
                            g_get_host_name(), (int)getpid(), n);
        g_free(board->path);
        board->path = g_build_filename(folder, name, NULL);
        board->fd = open(board->path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0666);
        if (board->fd < 0 && errno != EEXIST)
            break;
    }
    if (board->fd < 0) {
        g_set_error(error, TN_ERROR, TN_ERROR_IO, "%s: %s", board->path, g_strerror(errno));
        return FALSE;
    }
    board->resumed = resumed;
    board->flushed = g_get_monotonic_time();
    g_autoptr(GByteArray) event = event_new(now, 0);
    g_autoptr(GByteArray) frame = NULL;
    wire_string(event, 3, "brain.Event:2");
    frame = wire_frame(event);
    g_byte_array_append(board->pending, frame->data, frame->len);
    return write_pending(board, error);
}

static void
board_close(void *self)
{
    Board *board = self;
    board_flush(board);
    if (board->fd >= 0)
        close(board->fd);
    board->fd = -1;
}

/* --- Values ---------------------------------------------------------------------------------- */

/* SummaryMetadata {1 plugin_data {1 plugin_name}}. */
static void
add_metadata(GByteArray *value, const char *plugin)
{
    g_autoptr(GByteArray) data = g_byte_array_new();
    g_autoptr(GByteArray) metadata = g_byte_array_new();
    wire_string(data, 1, plugin);
    wire_message(metadata, 1, data);
    wire_message(value, 9, metadata);
}

/* TensorProto {1 dtype DT_STRING = 7, 2 shape {2 dim {1 size}}, 8 string_val}. */
static void
add_text(GByteArray *value, const char *text)
{
    g_autoptr(GByteArray) dim = g_byte_array_new();
    g_autoptr(GByteArray) shape = g_byte_array_new();
    g_autoptr(GByteArray) tensor = g_byte_array_new();
    wire_varint(dim, 1, 1);
    wire_message(shape, 2, dim);
    wire_varint(tensor, 1, 7);
    wire_message(tensor, 2, shape);
    g_autofree char *valid = g_utf8_make_valid(text, -1);
    wire_string(tensor, 8, valid);
    wire_message(value, 8, tensor);
    add_metadata(value, "text");
}

/* Bucket limits as TensorFlow's histogram has them: 0, and powers of 1.1 from 1e-12 to 1e20, both
 * signs. */
#define HALF 774
static guint
make_limits(double limits[2 * HALF + 1])
{
    double v = 1e-12;
    guint n = 0;
    while (v < 1e20 && n < HALF) {
        limits[HALF + 1 + n++] = v;
        v *= 1.1;
    }
    limits[HALF] = 0;
    for (guint i = 0; i < n; i++)
        limits[HALF - 1 - i] = -limits[HALF + 1 + i];
    return n;
}

/* First limit above x, by halving. */
static guint
bucket_of(const double *limits, guint n, double x)
{
    guint lo = 0, hi = n;
    while (lo < hi) {
        guint mid = (lo + hi) / 2;
        if (limits[mid] <= x)
            lo = mid + 1;
        else
            hi = mid;
    }
    return MIN(lo, n - 1);
}

/* HistogramProto {1 min, 2 max, 3 num, 4 sum, 5 sum_squares, 6 bucket_limit, 7 bucket}. Numbers
 * that are not finite are left out; empty buckets at both ends too. */
static gboolean
add_histogram(GByteArray *value, TnTensor *tensor)
{
    g_autoptr(TnTensor) plain = tn_tensor_copy(tensor, NULL, TN_DTYPE_F64, NULL);
    const double *x = plain ? tn_tensor_map(plain, TN_MAP_READ, NULL) : NULL;
    if (!x)
        return FALSE;
    double table[2 * HALF + 1], min = INFINITY, max = -INFINITY, sum = 0, squares = 0, num = 0;
    guint half = make_limits(table), n = 2 * half + 1;
    const double *limits = table + HALF - half;
    g_autofree double *counts = g_new0(double, n);
    gint64 total = tn_tensor_count(plain);
    for (gint64 i = 0; i < total; i++) {
        if (!isfinite(x[i]))
            continue;
        min = fmin(min, x[i]);
        max = fmax(max, x[i]);
        sum += x[i];
        squares += x[i] * x[i];
        num++;
        counts[bucket_of(limits, n, x[i])]++;
    }
    tn_tensor_unmap(plain);
    guint first = 0, last = n;
    while (first + 1 < last && counts[first] == 0)
        first++;
    while (last > first + 1 && counts[last - 1] == 0)
        last--;
    first = first ? first - 1 : 0; /* the lower edge of the first bucket */
    g_autoptr(GByteArray) histogram = g_byte_array_new();
    wire_double(histogram, 1, num ? min : 0);
    wire_double(histogram, 2, num ? max : 0);
    wire_double(histogram, 3, num);
    wire_double(histogram, 4, sum);
    wire_double(histogram, 5, squares);
    wire_doubles(histogram, 6, limits + first, last - first);
    wire_doubles(histogram, 7, counts + first, last - first);
    wire_message(value, 5, histogram);
    return TRUE;
}

/* Event {7 session_log {1 status START = 1}}: TensorBoard drops what earlier files have from this
 * step on. */
static void
put_session_start(Board *board, const TnRecord *record)
{
    g_autoptr(GByteArray) log = g_byte_array_new();
    g_autoptr(GByteArray) event = event_new(record->wall_time, record->step);
    wire_varint(log, 1, 1);
    wire_message(event, 7, log);
    put_event(board, event);
    board->resumed = FALSE;
}

static TnStatus
board_write(void *self, const TnRecord *record)
{
    Board *board = self;
    g_autoptr(GByteArray) value = g_byte_array_new();
    if (board->fd < 0 || record->kind == TN_RECORD_PROGRESS)
        return TN_OK;
    /* A string that is no UTF-8 makes the whole file unreadable. */
    g_autofree char *name = g_utf8_make_valid(record->name, -1);
    wire_string(value, 1, name);
    if (record->kind == TN_RECORD_SCALAR)
        wire_float(value, 2, (float)record->value);
    else if (record->kind == TN_RECORD_TEXT)
        add_text(value, record->text);
    else if (record->kind != TN_RECORD_TENSOR || !add_histogram(value, record->tensor))
        return TN_OK;
    if (board->resumed)
        put_session_start(board, record);
    g_autoptr(GByteArray) summary = g_byte_array_new();
    g_autoptr(GByteArray) event = event_new(record->wall_time, record->step);
    wire_message(summary, 1, value);
    wire_message(event, 5, summary);
    return put_event(board, event);
}

static const TnLoggerVTable vtable = {
    .size = sizeof(TnLoggerVTable),
    .open = board_open,
    .write = board_write,
    .flush = board_flush,
    .close = board_close,
};

static const TnFactory factory = {
    .size = sizeof(TnFactory),
    .iface = TN_IFACE_LOGGER,
    .name = "tensorboard",
    .help = "event files that TensorBoard shows",
    .threads = TN_THREADS_SERIAL,
    .options = TN_OPTIONS(BoardOptions, rows),
    .create = board_create,
    .destroy = board_destroy,
    .vtable = &vtable,
};

static const TnFactory *const factories[] = { &factory, NULL };

static const TnPlugin descriptor = {
    TN_PLUGIN_HEAD("tensorboard", TN_PLUGIN_VERSION, "Apache-2.0", "TensorBoard event files"),
    .factories = factories,
};

TN_PLUGIN(tensorboard, descriptor)
