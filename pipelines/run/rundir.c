/* rundir.c: a run's folder: made, found, locked, written. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "run-private.h"

#define METRICS "metrics.jsonl"

char *
tn_runs_root(const char *option)
{
    const char *root = option ? option : g_getenv("TENON_RUNS");
    return g_canonicalize_filename(root && *root ? root : "runs", NULL);
}

static gboolean
make_folder(const char *path, GError **error)
{
    if (g_mkdir_with_parents(path, 0777) == 0)
        return TRUE;
    g_set_error(error, TN_ERROR, TN_ERROR_IO,
                "%s: cannot be made: %s; --runs or TENON_RUNS names another folder for runs", path,
                g_strerror(errno));
    return FALSE;
}

/* Takes the lock without waiting. The holder's process id stands in the file, for the message of
 * who comes second. */
static int
take_lock(const char *folder, GError **error)
{
    int fd = tn_file_open_below(folder, "lock", O_RDWR | O_CREAT, error);
    if (fd < 0)
        return -1;
    char text[32] = "";
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        ssize_t n = pread(fd, text, sizeof text - 1, 0);
        text[n > 0 ? n : 0] = '\0';
        g_set_error(error, TN_ERROR, TN_ERROR_BUSY,
                    "%s: another process%s%s is writing this run; stop it first", folder,
                    *text ? ", number " : "", g_strstrip(text));
        close(fd);
        return -1;
    }
    g_snprintf(text, sizeof text, "%d\n", (int)getpid());
    if (ftruncate(fd, 0) < 0 || pwrite(fd, text, strlen(text), 0) < 0)
        tn_log("run", TN_LOG_DEBUG, "%s/lock: %s", folder, g_strerror(errno));
    return fd;
}

static TnRunDir *
run_new(const char *path, int lock)
{
    TnRunDir *run = g_new0(TnRunDir, 1);
    run->path = g_strdup(path);
    run->lock = lock;
    run->pinned = g_array_new(FALSE, FALSE, sizeof(guint64));
    return run;
}

/* The run's lines of the log, whatever stderr shows. */
static void
log_sink(const char *category, TnLogLevel level, const char *line, gpointer data)
{
    static const char *const levels[] = { "error", "warn", "info", "debug" };
    TnRunDir *run = data;
    g_autoptr(GDateTime) now = g_date_time_new_now_utc();
    g_autofree char *stamp = g_date_time_format(now, "%Y-%m-%dT%H:%M:%S");
    fprintf(run->log, "%sZ %s %s: %s\n", stamp, levels[level], category, line);
    fflush(run->log);
}

/* A process that was killed may have left half a line, to which the next would be glued. */
static void
drop_half_line(int fd, const char *name)
{
    off_t end = lseek(fd, 0, SEEK_END), at = end;
    char last = '\n';
    while (at > 0 && pread(fd, &last, 1, at - 1) == 1 && last != '\n')
        at--;
    if (at < end && ftruncate(fd, at) < 0)
        tn_log("run", TN_LOG_WARN, "%s: %s", name, g_strerror(errno));
}

/* A file of the run to which lines are added. */
static FILE *
open_lines(const TnRunDir *run, const char *name, GError **error)
{
    const int fd = tn_file_open_below(run->path, name, O_RDWR | O_CREAT | O_APPEND, error);
    if (fd < 0)
        return NULL;
    drop_half_line(fd, name);
    FILE *file = fdopen(fd, "a");
    if (!file) {
        g_set_error(error, TN_ERROR, TN_ERROR_IO, "%s/%s: %s", run->path, name, g_strerror(errno));
        close(fd);
    }
    return file;
}

/* Early: checkpoints would be refused there when the first is written. */
static gboolean
make_checkpoints(const TnRunDir *run, GError **error)
{
    g_autofree char *path = g_build_filename(run->path, "checkpoints", NULL);
    if (!g_file_test(path, G_FILE_TEST_IS_SYMLINK))
        return make_folder(path, error);
    g_set_error(error, TN_ERROR, TN_ERROR_IO,
                "%s: is a link, and nothing is written through links in a run's folder; put what "
                "it leads to in its place",
                path);
    return FALSE;
}

static gboolean
open_writer(TnRunDir *run, GError **error)
{
    if (!make_checkpoints(run, error))
        return FALSE;
    run->log = open_lines(run, "log.txt", error);
    run->metrics = run->log ? open_lines(run, METRICS, error) : NULL;
    if (!run->metrics)
        return FALSE;
    run->log_sink = tn_log_add_sink(log_sink, run);
    return TRUE;
}

/* A name of the user's as one folder: letters, digits, '.', '_' and '-'. */
static char *
folder_name(const char *name)
{
    char *folder = g_strdup(name && *name ? name : "run");
    g_strcanon(folder, G_CSET_A_2_Z G_CSET_a_2_z G_CSET_DIGITS "._-", '_');
    if (*folder == '.')
        *folder = '_';
    return folder;
}

TnRunDir *
tn_run_create(const char *root, const char *name, GError **error)
{
    g_autofree char *group = folder_name(name);
    g_autofree char *parent = g_build_filename(root, group, NULL);
    if (!make_folder(parent, error))
        return NULL;
    g_autoptr(GDateTime) now = g_date_time_new_now_local();
    g_autofree char *stamp = g_date_time_format(now, "%Y%m%d-%H%M%S");
    const guint part =
        (guint)((guint64)g_date_time_get_microsecond(now) * 0x10000 / G_USEC_PER_SEC);
    for (guint attempt = 0; attempt < 100; attempt++) {
        /* Four letters, the part of the second, keep apart and in order what begins in the same one. */
        g_autofree char *id = g_strdup_printf("%s-%04x", stamp, (part + attempt) & 0xffff);
        g_autofree char *path = g_build_filename(parent, id, NULL);
        if (mkdir(path, 0777) == 0) {
            int lock = take_lock(path, error);
            if (lock < 0)
                return NULL;
            g_autoptr(TnRunDir) run = run_new(path, lock);
            return open_writer(run, error) ? g_steal_pointer(&run) : NULL;
        }
        if (errno != EEXIST) {
            g_set_error(error, TN_ERROR, TN_ERROR_IO, "%s: cannot be made: %s", path,
                        g_strerror(errno));
            return NULL;
        }
    }
    g_set_error(error, TN_ERROR, TN_ERROR_IO, "%s: no free name for a run", parent);
    return NULL;
}

/* A run that began: one that failed while it was prepared has nothing to go on with. */
static gboolean
has_begun(const char *path)
{
    g_autofree char *provenance = g_build_filename(path, TN_PROVENANCE, NULL);
    return g_file_test(provenance, G_FILE_TEST_IS_REGULAR);
}

/* The newest run in a folder of runs: names begin with the time. */
static char *
newest_in(const char *folder)
{
    GDir *dir = g_dir_open(folder, 0, NULL);
    char *best = NULL;
    const char *name;
    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *path = g_build_filename(folder, name, NULL);
        if (has_begun(path) && (!best || strcmp(path, best) > 0)) {
            g_free(best);
            best = g_steal_pointer(&path);
        }
    }
    if (dir)
        g_dir_close(dir);
    return best;
}

/* Also of one that is being made and has its lock only. */
static gboolean
is_run(const char *path)
{
    g_autofree char *lock = g_build_filename(path, "lock", NULL);
    return has_begun(path) || g_file_test(lock, G_FILE_TEST_IS_REGULAR);
}

static char *
find_run(const char *root, const char *path, GError **error)
{
    g_autofree char *inside = g_build_filename(root, path, NULL);
    const char *const places[] = { path, inside };
    for (guint i = 0; i < G_N_ELEMENTS(places); i++) {
        if (is_run(places[i]))
            return g_canonicalize_filename(places[i], NULL);
        char *newest = newest_in(places[i]);
        if (newest)
            return newest;
    }
    g_set_error(
        error, TN_ERROR, TN_ERROR_NOT_FOUND,
        "no run '%s': neither it nor %s is a run's folder or holds one; `tenon runs` lists them",
        path, inside);
    return NULL;
}

TnRunDir *
tn_run_open(const char *root, const char *path, gboolean write, GError **error)
{
    g_autofree char *found = find_run(root, path, error);
    if (!found)
        return NULL;
    int lock = write ? take_lock(found, error) : -1;
    if (write && lock < 0)
        return NULL;
    g_autoptr(TnRunDir) run = run_new(found, lock);
    if (write && !open_writer(run, error))
        return NULL;
    return g_steal_pointer(&run);
}

void
tn_run_close(TnRunDir *run)
{
    if (!run)
        return;
    if (run->log_sink)
        tn_log_remove_sink(run->log_sink);
    if (run->metrics)
        fclose(run->metrics);
    if (run->log)
        fclose(run->log);
    if (run->lock >= 0)
        close(
            run->lock); /* the lock goes with it; its file stays, so that two openers lock the same one */
    g_array_unref(run->pinned);
    g_free(run->path);
    g_free(run);
}

gboolean
tn_run_is_held(const TnRunDir *run)
{
    g_autofree char *path = g_build_filename(run->path, "lock", NULL);
    if (run->lock >= 0)
        return TRUE;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    gboolean held = fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) < 0;
    if (fd >= 0)
        close(fd);
    return held;
}

const char *
tn_run_path(const TnRunDir *run)
{
    return run->path;
}

gboolean
tn_run_put(TnRunDir *run, const char *name, const char *text, GError **error)
{
    return tn_file_put_below(run->path, name, text, strlen(text), error);
}

gboolean
tn_run_put_json(TnRunDir *run, const char *name, const TnValue *value, GError **error)
{
    g_autofree char *text = tn_json_print(value, TRUE);
    g_autofree char *line = g_strconcat(text, "\n", NULL);
    return tn_run_put(run, name, line, error);
}

TnValue *
tn_run_get_json(TnRunDir *run, const char *name, GError **error)
{
    g_autofree char *path = g_build_filename(run->path, name, NULL);
    gsize size;
    char *text = tn_file_read(path, 64u << 20, &size, error);
    if (!text)
        return NULL;
    TnValue *value = tn_json_parse(text, size, error);
    tn_data_free(text);
    if (!value)
        tn_error_prefix(error, "%s", path);
    return value;
}

gboolean
tn_run_metric(TnRunDir *run, const char *name, guint64 step, double value, GError **error)
{
    g_autoptr(TnValue) line = tn_value_map();
    gint64 now = g_get_real_time();
    tn_value_set(line, "name", tn_value_string(name));
    tn_value_set(line, "step", tn_value_int((gint64)step));
    tn_value_set(line, "time", tn_value_double((double)now * 1e-6));
    tn_value_set(line, "value", tn_value_double(value));
    g_autofree char *text = tn_json_print(line, FALSE);
    gboolean ok = fprintf(run->metrics, "%s\n", text) > 0;
    if (ok && now - run->metrics_flushed > G_USEC_PER_SEC) {
        run->metrics_flushed = now;
        ok = fflush(run->metrics) == 0;
    }
    if (!ok)
        g_set_error(error, TN_ERROR, TN_ERROR_IO, "%s/" METRICS ": %s", run->path,
                    g_strerror(errno));
    return ok;
}

/* The number behind "step" in a line of metrics.jsonl; -1: there is none. Inside a string the
 * quotes would be escaped. */
static gint64
step_of(const char *line, gsize length)
{
    static const char key[] = "\"step\":";
    const char *at = g_strstr_len(line, (gssize)length, key);
    return at ? g_ascii_strtoll(at + strlen(key), NULL, 10) : -1;
}

typedef struct {
    const char *path;
    GString *text;
} Kept;

static gboolean
write_kept(int fd, gpointer data, GError **error)
{
    const Kept *kept = data;
    return tn_file_write_all(fd, kept->path, kept->text->str, kept->text->len, error);
}

gboolean
tn_run_drop_metrics(TnRunDir *run, gint64 step, GError **error)
{
    g_autofree char *path = g_build_filename(run->path, METRICS, NULL);
    g_autoptr(GString) kept = g_string_new(NULL);
    gsize size = 0;
    tn_run_flush(run);
    char *text = tn_file_read(path, 0, &size, error);
    if (!text)
        return FALSE;
    for (gsize at = 0, length; at < size; at += length) {
        const char *end = memchr(text + at, '\n', size - at);
        length = end ? (gsize)(end - text) + 1 - at : size - at;
        if (step_of(text + at, length) <= step)
            g_string_append_len(kept, text + at, (gssize)length);
    }
    tn_data_free(text);
    if (kept->len == size)
        return TRUE;
    if (!tn_file_replace_below(run->path, METRICS, write_kept, &(Kept){ path, kept }, error))
        return FALSE;
    /* The open file is the one that was replaced. */
    FILE *metrics = open_lines(run, METRICS, error);
    if (!metrics)
        return FALSE;
    fclose(run->metrics);
    run->metrics = metrics;
    return TRUE;
}

void
tn_run_flush(TnRunDir *run)
{
    if (run->metrics)
        fflush(run->metrics);
}
