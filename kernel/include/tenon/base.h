/* base.h: memory for data, log, random numbers, files replaced whole: what everything else
 * stands on. */
#pragma once

#include <tenon/status.h>

G_BEGIN_DECLS

/* --- Memory whose size depends on data
 * ------------------------------------------------------------- Small objects use g_new and
 * friends, which end the process when memory is out. Whatever is as large as the user's data comes
 * from here, and its failure is an error that the caller passes on. */

/* bytes (0 is allowed and gives a valid pointer), aligned to TN_ALIGN; NULL when there is none.
 * Not zeroed. (transfer full): tn_data_free. Thread: any. */
TN_API void *tn_data_alloc(gsize bytes);
/* As tn_data_alloc, sets *error (TN_ERROR_NO_MEMORY, says how much and for what) on failure. */
TN_API void *tn_data_alloc_for(gsize bytes, const char *what, GError **error);
TN_API void tn_data_free(void *memory);
/* For tests: the nth data allocation from now (1 = the next) fails once; 0 turns it off. Returns
 * how many data allocations there were since the last call. Also set by TENON_FAIL_ALLOC=n.
 * Thread: any. */
TN_API guint64 tn_data_fail_nth(guint64 nth);
/* count * size, FALSE on overflow of 63 bits. */
TN_API gboolean tn_size_mul(gsize count, gsize size, gsize *bytes);

/* --- Log -------------------------------------------------------------------------------------- */

typedef enum { TN_LOG_ERROR, TN_LOG_WARN, TN_LOG_INFO, TN_LOG_DEBUG } TnLogLevel;

/* A line of the log. Goes to every sink whose filter lets (category, level) through, by default
 * to stderr from TN_LOG_WARN upward. Never to stdout. Thread: any. */
TN_API void tn_log(const char *category, TnLogLevel level, const char *format, ...)
    G_GNUC_PRINTF(3, 4);
/* TRUE if a line would go anywhere: guards costly arguments. */
TN_API gboolean tn_log_enabled(const char *category, TnLogLevel level);
/* Filter such as "loader:debug,*:info"; FALSE and *error on bad syntax, with the filter
 * unchanged. A level may be off; one alone is for all. TENON_LOG sets the first filter. */
TN_API gboolean tn_log_set_filter(const char *filter, GError **error);
typedef void (*TnLogSink)(const char *category, TnLogLevel level, const char *line, gpointer data);
/* Adds a sink, called under the log's lock for every line that the filter passes (not only those
 * that stderr shows); returns an id for tn_log_remove_sink. */
TN_API guint tn_log_add_sink(TnLogSink sink, gpointer data);
TN_API void tn_log_remove_sink(guint id);

/* --- Random numbers
 * --------------------------------------------------------------------------------- Philox 4x32-10
 * (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011). The numbers of a stream
 * are a pure function of (seed, stream, step, index): no state, any order, any thread. */

/* The bijection itself: counter[4] and key[2] give out[4]. */
TN_API void tn_philox(const guint32 counter[4], const guint32 key[2], guint32 out[4]);
TN_API void tn_random_key(guint64 seed, guint64 stream, guint32 key[2]);
/* out[4]: words 4*block .. 4*block+3 of the stream. key = tn_random_key's, counter = (block, step), each its
 * lower half first. */
TN_API void tn_random_words(guint64 seed, guint64 stream, guint64 step, guint64 block,
                            guint32 out[4]);
/* Stream number of a dotted name: 64-bit FNV-1a, finished with splitmix64. */
TN_API guint64 tn_random_stream(const char *name);
/* [0, 1) from one word, 24 bits: the same on every device. */
static inline float
tn_random_unit_f32(guint32 word)
{
    return (float)(word >> 8) * 0x1p-24f;
}
/* [0, 1) from two words, 53 bits. */
static inline double
tn_random_unit_f64(guint32 lo, guint32 hi)
{
    return (double)((((guint64)hi << 32) | lo) >> 11) * 0x1p-53;
}

/* A convenience over one stream for host code that draws one number after another (shuffles,
 * samplers). The struct is all its state: copy it to save it. Thread: serial. */
typedef struct {
    guint64 seed, stream, step, used; /* used: words drawn so far */
    guint32 words[4];
} TnRandom;
TN_API void tn_random_init(TnRandom *random, guint64 seed, const char *stream, guint64 step);
TN_API guint32 tn_random_u32(TnRandom *random);
TN_API guint64 tn_random_u64(TnRandom *random);
/* Uniform in [0, bound), bound > 0, without bias. */
TN_API guint64 tn_random_below(TnRandom *random, guint64 bound);
TN_API double tn_random_f64(TnRandom *random);    /* [0, 1) */
TN_API double tn_random_normal(TnRandom *random); /* mean 0, deviation 1: Box-Muller */
/* The next n numbers, as n calls of tn_random_normal, rounded to f32, and of tn_random_u32 give them, bit for
 * bit, several times as fast. out[n]; n may be 0. */
TN_API void tn_random_fill_normal(TnRandom *random, gint64 n, float *out);
TN_API void tn_random_fill_u32(TnRandom *random, gint64 n, guint32 *out);
/* Element at position of a pseudo-random permutation of 0 .. n-1, without memory: 6-round
 * Feistel network keyed by Philox over the next power of four, walked until inside n. A shuffle
 * that can begin anywhere. */
TN_API guint64 tn_random_permute(guint64 seed, guint64 stream, guint64 round, guint64 n,
                                 guint64 position);

/* --- Files ------------------------------------------------------------------------------------ */

/* Writes part of a file; FALSE with *error when it cannot. */
typedef gboolean (*TnFileWriter)(int fd, gpointer data, GError **error);
/* Replaces path whole or not at all: writes a temporary file beside it through writer, fsyncs it,
 * renames it, fsyncs the folder. On failure the old file stays and the temporary one is removed;
 * what a killed process left goes at the next call for that folder. A symbolic link stays, what it
 * leads to is replaced (or made); other names of a hard link keep the old file. Thread: any. */
TN_API gboolean tn_file_replace(const char *path, TnFileWriter writer, gpointer data,
                                GError **error);
/* The same for bytes at hand. */
TN_API gboolean tn_file_replace_bytes(const char *path, const void *bytes, gsize size,
                                      GError **error);
/* Likewise whole or not at all when a process dies, but without waiting for the disk: for what may
 * be lost with the machine's power. */
TN_API gboolean tn_file_put_bytes(const char *path, const void *bytes, gsize size, GError **error);
/* These three write the file `name` ("log.txt", "files/words/1") of a folder that somebody
 * else may have filled: below `folder` no link is followed, neither to the file nor to a folder on
 * the way to it; TN_ERROR_IO says which is one. Folders on the way are made. As
 * tn_file_replace, tn_file_put_bytes, and open(2) with flags of a plain file: -1 with *error. */
TN_API gboolean tn_file_replace_below(const char *folder, const char *name, TnFileWriter writer,
                                      gpointer data, GError **error);
TN_API gboolean tn_file_put_below(const char *folder, const char *name, const void *bytes,
                                  gsize size, GError **error);
TN_API int tn_file_open_below(const char *folder, const char *name, int flags, GError **error);
/* write(2) until all is written; FALSE with TN_ERROR_IO (path named) otherwise. */
TN_API gboolean tn_file_write_all(int fd, const char *path, const void *bytes, gsize size,
                                  GError **error);
/* The whole file, at most limit bytes (0: none), NUL-terminated beyond *size. (transfer full):
 * tn_data_free. */
TN_API char *tn_file_read(const char *path, gsize limit, gsize *size, GError **error);
/* FNV-1a 64 of bytes, continued from hash (start with TN_HASH_INIT). */
#define TN_HASH_INIT G_GUINT64_CONSTANT(0xcbf29ce484222325)
TN_API guint64 tn_hash(guint64 hash, const void *bytes, gsize size);
/* The same in bounded time for contents of any size: over the size, and over all bytes up to 1 MiB;
 * of more, over 64 blocks of 16 KiB, spread evenly from the first byte to the last. Tells apart
 * what differs as a whole, not every single byte. Thread: any. */
TN_API guint64 tn_hash_sample(guint64 hash, const void *bytes, gsize size);

/* The nearest of n names (candidates[i]) to word by Damerau-Levenshtein distance, or NULL when
 * none is near enough to be meant (distance > 1 + length / 4). (transfer none). Thread: any. */
TN_API const char *tn_nearest(const char *word, const char *const *candidates, gsize n);

/* The one copy of a string that is kept until the process ends, so that equal strings have equal
 * pointers; NULL gives NULL. (transfer none). Thread: any. */
TN_API const char *tn_intern(const char *string);

/* Nanoseconds of the monotonic clock. Thread: any. */
TN_API gint64 tn_time_ns(void);

/* Version of the program, such as "0.1.0". */
TN_API const char *tn_version(void);

G_END_DECLS
