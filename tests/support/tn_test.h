/*
 * tn_test.h - what every test needs around CUnit: a table of tests, checks that print values, a
 * temporary folder, child processes.
 *
 *     static void adds(void) { TN_ASSERT_CMPINT(1 + 1, ==, 2); }
 *     static const TnTest tests[] = {{"adds", adds}};
 *     TN_TEST_MAIN("arithmetic", tests)
 *
 * The program runs all tests, or those whose names are its arguments (a test called "child:…" runs
 * only when it is named: by another one that runs this program again), and ends with "# passed=N
 * failed=M skipped=K". Exit code: 0 all good, 1 a test failed, 77 every test was skipped. The
 * checks may be used in helper functions, on the thread that runs the test only. CUnit's own
 * CU_ASSERT… macros work too.
 */
#ifndef TN_TEST_H
#define TN_TEST_H

#include <CUnit/CUnit.h>
#include <glib.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct {
    const char *name;
    void (*func)(void);
} TnTest;

/* Runs `table`; `setup` and `teardown` (both may be NULL) run once, before the first and after the
 * last test. */
int tn_test_main(const char *suite, const TnTest *table, size_t n, void (*setup)(void),
                 void (*teardown)(void), int argc, char **argv);

#define TN_TEST_MAIN(suite, table) TN_TEST_MAIN_WITH(suite, table, NULL, NULL)
#define TN_TEST_MAIN_WITH(suite, table, setup, teardown)                                           \
    int main(int argc, char **argv)                                                                \
    {                                                                                              \
        return tn_test_main(suite, table, G_N_ELEMENTS(table), setup, teardown, argc, argv);       \
    }

/* Ends the running test as skipped. It jumps out of the test, so call it before anything is
 * owned. */
G_NORETURN void tn_test_skip(const char *format, ...) G_GNUC_PRINTF(1, 2);

/* Ends the running test without counting it: it says nothing about this kind of build (allocations
 * that are counted, in a build with sanitizers). What another machine or another setting would run
 * is skipped instead. */
G_NORETURN void tn_test_leave_out(const char *reason);

/* 1 in a build with AddressSanitizer or ThreadSanitizer. Time limits of child processes are five
 * times as long there. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TN_TEST_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define TN_TEST_SANITIZED 1
#endif
#endif
#ifndef TN_TEST_SANITIZED
#define TN_TEST_SANITIZED 0
#endif

/* Records one check. The message is printf's; with `fatal` a failure ends the test (and leaks what
 * it owned). */
gboolean tn_test_check(gboolean ok, gboolean fatal, const char *file, unsigned int line,
                       const char *format, ...) G_GNUC_PRINTF(5, 6);

/* TN_ASSERT goes on after a failure, TN_REQUIRE ends the test: use it where going on would
 * crash. */
#define TN_ASSERT(x) tn_test_check(!!(x), FALSE, __FILE__, __LINE__, "%s", #x)
#define TN_REQUIRE(x) tn_test_check(!!(x), TRUE, __FILE__, __LINE__, "%s", #x)
#define TN_FAIL(...) tn_test_check(FALSE, FALSE, __FILE__, __LINE__, __VA_ARGS__)

/* Comparisons: both values are printed. TN_ASSERT_CMPINT(tn_tensor_rank(t), ==, 2) */
#define TN_ASSERT_CMPINT(a, op, b)                                                                 \
    G_STMT_START                                                                                   \
    {                                                                                              \
        const gint64 tn_a_ = (gint64)(a), tn_b_ = (gint64)(b);                                     \
        tn_test_check(tn_a_ op tn_b_, FALSE, __FILE__, __LINE__,                                   \
                      "%s %s %s: %" G_GINT64_FORMAT " and %" G_GINT64_FORMAT, #a, #op, #b, tn_a_,  \
                      tn_b_);                                                                      \
    }                                                                                              \
    G_STMT_END
#define TN_ASSERT_CMPUINT(a, op, b)                                                                \
    G_STMT_START                                                                                   \
    {                                                                                              \
        const guint64 tn_a_ = (guint64)(a), tn_b_ = (guint64)(b);                                  \
        tn_test_check(tn_a_ op tn_b_, FALSE, __FILE__, __LINE__,                                   \
                      "%s %s %s: %" G_GUINT64_FORMAT " and %" G_GUINT64_FORMAT, #a, #op, #b,       \
                      tn_a_, tn_b_);                                                               \
    }                                                                                              \
    G_STMT_END
#define TN_ASSERT_CMPFLOAT(a, op, b)                                                               \
    G_STMT_START                                                                                   \
    {                                                                                              \
        const double tn_a_ = (double)(a), tn_b_ = (double)(b);                                     \
        tn_test_check(tn_a_ op tn_b_, FALSE, __FILE__, __LINE__, "%s %s %s: %.17g and %.17g", #a,  \
                      #op, #b, tn_a_, tn_b_);                                                      \
    }                                                                                              \
    G_STMT_END
/* Equal strings; NULL equals NULL only. */
#define TN_ASSERT_CMPSTR(a, b) tn_test_strings((a), (b), #a, __FILE__, __LINE__)
/* `text` (NULL fails) contains `part`. */
#define TN_ASSERT_CONTAINS(text, part) tn_test_contains((text), (part), #text, __FILE__, __LINE__)

/*
 * Element by element: |actual - expected| <= atol + rtol * |expected|. Two NaNs are equal, as are
 * equal infinities. The first bad index is printed with both values, and how many are bad.
 */
#define TN_ASSERT_NEAR_F32(actual, expected, n, rtol, atol)                                        \
    tn_test_near_f32((actual), (expected), (size_t)(n), (rtol), (atol), #actual, __FILE__, __LINE__)
#define TN_ASSERT_NEAR_F64(actual, expected, n, rtol, atol)                                        \
    tn_test_near_f64((actual), (expected), (size_t)(n), (rtol), (atol), #actual, __FILE__, __LINE__)
#define TN_ASSERT_NEAR(actual, expected, rtol, atol)                                               \
    G_STMT_START                                                                                   \
    {                                                                                              \
        const double tn_a_ = (double)(actual), tn_b_ = (double)(expected);                         \
        tn_test_near_f64(&tn_a_, &tn_b_, 1, (rtol), (atol), #actual, __FILE__, __LINE__);          \
    }                                                                                              \
    G_STMT_END
/* The same bytes; the first that differs is printed. */
#define TN_ASSERT_BYTES(actual, expected, n)                                                       \
    tn_test_bytes((actual), (expected), (size_t)(n), #actual, __FILE__, __LINE__)

/* `error` (a GError *) is unset; its message is printed if not. */
#define TN_ASSERT_NO_ERROR(error)                                                                  \
    tn_test_check((error) == NULL, FALSE, __FILE__, __LINE__, "unexpected error: %s",              \
                  (error) == NULL ? "" : (error)->message)
#define TN_REQUIRE_NO_ERROR(error)                                                                 \
    tn_test_check((error) == NULL, TRUE, __FILE__, __LINE__, "unexpected error: %s",               \
                  (error) == NULL ? "" : (error)->message)
/*
 * `error` (a GError **) holds the code, and its message all the words given; then it is cleared.
 *     TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_SHAPE, "matmul", "[2, 3]");
 */
#define TN_ASSERT_ERROR(error, domain, code, ...)                                                  \
    tn_test_error((error), (domain), (code), __FILE__, __LINE__, ##__VA_ARGS__, NULL)

gboolean tn_test_strings(const char *a, const char *b, const char *what, const char *file,
                         unsigned int line);
gboolean tn_test_contains(const char *text, const char *part, const char *what, const char *file,
                          unsigned int line);
gboolean tn_test_near_f32(const float *actual, const float *expected, size_t n, double rtol,
                          double atol, const char *what, const char *file, unsigned int line);
gboolean tn_test_near_f64(const double *actual, const double *expected, size_t n, double rtol,
                          double atol, const char *what, const char *file, unsigned int line);
gboolean tn_test_bytes(const void *actual, const void *expected, size_t n, const char *what,
                       const char *file, unsigned int line);
gboolean tn_test_error(GError **error, GQuark domain, int code, const char *file, unsigned int line,
                       ...) G_GNUC_NULL_TERMINATED;

/* Folders. The strings are owned by the harness and live as long as the process. */
const char *tn_test_build_dir(
    void); /* the build tree: $TN_BUILD_DIR, else where the test was built */
const char *tn_test_source_dir(
    void); /* the source tree: $TN_SOURCE_DIR, else where the test came from */
const char *tn_test_tmp_dir(
    void); /* one folder a process, made on the first call, removed at exit */
/* (transfer full): a path in the temporary folder; nothing is created. Free with g_free(). */
char *tn_test_tmp_path(const char *format, ...) G_GNUC_PRINTF(1, 2);
/* (transfer full): a path below the build tree, as tn_test_build_path("tests/plugins"). */
char *tn_test_build_path(const char *below);
char *tn_test_source_path(const char *below);
/* Writes a file (n < 0: text is a string); a failure ends the test. */
void tn_test_write_file(const char *path, const void *bytes, gssize n);
/* (transfer full): the file's text, ending the test if it cannot be read. */
char *tn_test_read_file(const char *path, size_t *n);

/*
 * A port of 127.0.0.1 that nobody has, below those that the system gives by itself: who asks for one
 * of these before it is served might be connected with itself.
 */
guint tn_test_port(void);

/*
 * Where tests draw at random: $TN_TEST_SEED, else another number each time; it is printed, so that
 * what failed can be done again.
 */
guint64 tn_test_seed(void);

/*
 * For loops that wait: TnPatience left = tn_test_patience(20); while (… && tn_test_patient(&left)) ….
 * A turn counts as a tenth of a second at most, so that time does not go by while the machine stands
 * still, or has other things to do than to run the one who waits.
 */
typedef struct {
    double last, left; /* seconds of the monotonic clock, seconds */
} TnPatience;

TnPatience tn_test_patience(double seconds);
/* FALSE: the time is over. */
gboolean tn_test_patient(TnPatience *patience);

/* A child process that has ended. */
typedef struct {
    int exit_code;      /* what it gave to exit(), or -1 */
    int signal;         /* the signal that ended it, or 0 */
    gboolean timed_out; /* it was killed because its time was up */
    char *out;          /* everything from stdout, zero-terminated */
    char *err;          /* everything from stderr, zero-terminated */
    double seconds;
} TnChild;

typedef struct {
    const char *cwd; /* NULL: this process's */
    const char *const
        *env; /* "KEY=value" added to the environment, "KEY" removed from it; NULL-terminated */
    const char *input;   /* text for stdin; NULL: empty */
    double timeout;      /* seconds until SIGKILL; 0: 30; with sanitizers times 5 */
    double signal_after; /* seconds until `signal_number` is sent once; 0: never */
    int signal_number;   /* with signal_after; for a kill test SIGKILL */
    const char *
        signal_when_text; /* send the signal when this text has appeared on stdout or stderr instead */
} TnChildOptions;

/*
 * Runs argv (NULL-terminated; argv[0] is looked up in PATH) and waits for its end. Returns FALSE,
 * after recording a failure, only if it could not be started; how it ended is in `child`, which
 * tn_child_clear() frees.
 */
gboolean tn_test_spawn(TnChild *child, const char *const *argv, const TnChildOptions *options);

/*
 * Runs tests of this program again, each time in a process of its own that has one of the settings
 * ("NAME=value") in its environment; each must pass within 200 s. Both lists end with NULL.
 */
void tn_test_again(const char *const *settings, const char *const *tests);
/* The same for a list of arguments ended by NULL, with 30 s of time. */
gboolean tn_test_run(TnChild *child, const char *program, ...) G_GNUC_NULL_TERMINATED;
/* The same for the program of the build tree: tn_test_tenon(&child, "check", path, NULL). */
gboolean tn_test_tenon(TnChild *child, ...) G_GNUC_NULL_TERMINATED;
void tn_child_clear(TnChild *child);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(TnChild, tn_child_clear)
/* How it ended; its stderr is printed when that is not as expected. */
#define TN_ASSERT_EXIT(child, code) tn_test_exit((child), (code), __FILE__, __LINE__)
gboolean tn_test_exit(const TnChild *child, int code, const char *file, unsigned int line);

#endif
