/*
 * tn_test.c - runs a table of tests through CUnit, prints what failed, counts, and holds the checks
 * that print values.
 */
#include "tn_test.h"

#include <CUnit/TestRun.h>
#include <ftw.h>
#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct {
    void (*setup)(void);
    void (*teardown)(void);
    char *skip_reason; /* of the running test, while it is skipped */
    gboolean left_out; /* the running test */
    unsigned int passed, failed, skipped, not_counted;
    char *tmp_dir;
    pid_t tmp_owner;
} state;

/* ---- running ---- */

static int
suite_setup(void)
{
    if (state.setup != NULL)
        state.setup();
    return 0;
}

static int
suite_teardown(void)
{
    if (state.teardown != NULL)
        state.teardown();
    return 0;
}

static void
on_start(const CU_pTest test, const CU_pSuite suite)
{
    (void)test;
    (void)suite;
    g_clear_pointer(&state.skip_reason, g_free);
    state.left_out = FALSE;
}

static void
on_complete(const CU_pTest test, const CU_pSuite suite, const CU_pFailureRecord failures)
{
    (void)suite;
    if (failures != NULL) {
        state.failed++;
        printf("not ok  %s\n", test->pName);
        for (CU_pFailureRecord f = failures; f != NULL; f = f->pNext)
            printf("    %s:%u: %s\n", f->strFileName ? f->strFileName : "?", f->uiLineNumber,
                   f->strCondition ? f->strCondition : "?");
    } else if (state.left_out) {
        state.not_counted++;
    } else if (state.skip_reason != NULL) {
        state.skipped++;
        printf("skip    %s # skipped: %s\n", test->pName, state.skip_reason);
    } else {
        state.passed++;
        printf("ok      %s\n", test->pName);
    }
    fflush(stdout);
}

void
tn_test_skip(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    g_free(state.skip_reason);
    state.skip_reason = g_strdup_vprintf(format, ap);
    va_end(ap);
    if (CU_get_current_test() == NULL) {
        printf("skip    everything # skipped: %s\n", state.skip_reason);
        printf("# passed=0 failed=0 skipped=1\n");
        exit(77);
    }
    longjmp(*CU_get_current_test()->pJumpBuf, 1);
}

void
tn_test_leave_out(const char *reason)
{
    state.left_out = TRUE;
    printf("not for this build: %s: %s\n", CU_get_current_test()->pName, reason);
    longjmp(*CU_get_current_test()->pJumpBuf, 1);
}

/* A check in setup or teardown, where CUnit knows no test. */
static gboolean
fail_outside(gboolean fatal, const char *file, unsigned int line, const char *message)
{
    state.failed++;
    printf("not ok  setup or teardown\n    %s:%u: %s\n", file, line, message);
    if (fatal) {
        printf("# passed=%u failed=%u skipped=%u\n", state.passed, state.failed, state.skipped);
        exit(EXIT_FAILURE);
    }
    return FALSE;
}

gboolean
tn_test_check(gboolean ok, gboolean fatal, const char *file, unsigned int line, const char *format,
              ...)
{
    if (ok && CU_get_current_test() != NULL)
        CU_assertImplementation(CU_TRUE, line, "", file, "", CU_FALSE);
    if (ok)
        return TRUE;
    va_list ap;
    va_start(ap, format);
    char *message = g_strdup_vprintf(format, ap);
    va_end(ap);
    /* CUnit copies the text, but a fatal failure does not come back, so it must not be owned here
     * by then. */
    static char text[4096];
    g_strlcpy(text, message, sizeof text);
    g_free(message);
    if (CU_get_current_test() == NULL)
        return fail_outside(fatal, file, line, text);
    CU_assertImplementation(CU_FALSE, line, text, file, "", fatal ? CU_TRUE : CU_FALSE);
    return FALSE;
}

static gboolean
is_wanted(const char *name, int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], name) == 0)
            return TRUE;
    return argc < 2 && !g_str_has_prefix(name, "child:");
}

int
tn_test_main(const char *suite_name, const TnTest *table, size_t n, void (*setup)(void),
             void (*teardown)(void), int argc, char **argv)
{
    state.setup = setup;
    state.teardown = teardown;
    if (CU_initialize_registry() != CUE_SUCCESS)
        return EXIT_FAILURE;
    CU_pSuite suite = CU_add_suite(suite_name, suite_setup, suite_teardown);
    size_t added = 0;
    for (size_t i = 0; suite != NULL && i < n; i++) {
        if (is_wanted(table[i].name, argc, argv) &&
            CU_add_test(suite, table[i].name, table[i].func) != NULL)
            added++;
    }
    if (added == 0) {
        fprintf(stderr, "%s: no test of that name\n", suite_name);
        CU_cleanup_registry();
        return EXIT_FAILURE;
    }
    CU_set_test_start_handler(on_start);
    CU_set_test_complete_handler(on_complete);
    CU_set_error_action(CUEA_IGNORE);
    CU_run_all_tests();
    CU_cleanup_registry();
    g_clear_pointer(&state.skip_reason, g_free);
    /* A test that never came back to CUnit is a failure too. */
    const unsigned int seen = state.passed + state.failed + state.skipped + state.not_counted;
    if (seen < added)
        state.failed += (unsigned int)added - seen;
    printf("# passed=%u failed=%u skipped=%u\n", state.passed, state.failed, state.skipped);
    fflush(stdout);
    if (state.failed > 0)
        return EXIT_FAILURE;
    return state.passed == 0 && state.skipped > 0 ? 77 : EXIT_SUCCESS;
}

/* ---- checks ---- */

gboolean
tn_test_strings(const char *a, const char *b, const char *what, const char *file, unsigned int line)
{
    return tn_test_check(g_strcmp0(a, b) == 0, FALSE, file, line, "%s is \"%s\", expected \"%s\"",
                         what, a ? a : "(null)", b ? b : "(null)");
}

gboolean
tn_test_contains(const char *text, const char *part, const char *what, const char *file,
                 unsigned int line)
{
    return tn_test_check(text != NULL && strstr(text, part) != NULL, FALSE, file, line,
                         "%s does not contain \"%s\": \"%s\"", what, part, text ? text : "(null)");
}

static gboolean
is_near(double actual, double expected, double rtol, double atol)
{
    if (isnan(actual) || isnan(expected))
        return isnan(actual) && isnan(expected);
    if (isinf(actual) || isinf(expected))
        return actual == expected;
    return fabs(actual - expected) <= atol + rtol * fabs(expected);
}

static gboolean
report_near(size_t bad, size_t first, size_t n, double actual, double expected, const char *what,
            const char *file, unsigned int line)
{
    return tn_test_check(bad == 0, FALSE, file, line,
                         "%s[%zu] is %.9g, expected %.9g (%zu of %zu differ)", what, first, actual,
                         expected, bad, n);
}

gboolean
tn_test_near_f32(const float *actual, const float *expected, size_t n, double rtol, double atol,
                 const char *what, const char *file, unsigned int line)
{
    size_t bad = 0, first = 0;
    for (size_t i = 0; i < n; i++) {
        if (!is_near(actual[i], expected[i], rtol, atol) && bad++ == 0)
            first = i;
    }
    return report_near(bad, first, n, bad ? actual[first] : 0, bad ? expected[first] : 0, what,
                       file, line);
}

gboolean
tn_test_near_f64(const double *actual, const double *expected, size_t n, double rtol, double atol,
                 const char *what, const char *file, unsigned int line)
{
    size_t bad = 0, first = 0;
    for (size_t i = 0; i < n; i++) {
        if (!is_near(actual[i], expected[i], rtol, atol) && bad++ == 0)
            first = i;
    }
    return report_near(bad, first, n, bad ? actual[first] : 0, bad ? expected[first] : 0, what,
                       file, line);
}

gboolean
tn_test_bytes(const void *actual, const void *expected, size_t n, const char *what,
              const char *file, unsigned int line)
{
    const unsigned char *a = actual, *b = expected;
    size_t i = 0;
    while (i < n && a[i] == b[i])
        i++;
    return tn_test_check(i == n, FALSE, file, line,
                         "%s: byte %zu of %zu is 0x%02x, expected 0x%02x", what, i, n,
                         i < n ? a[i] : 0, i < n ? b[i] : 0);
}

gboolean
tn_test_error(GError **error, GQuark domain, int code, const char *file, unsigned int line, ...)
{
    if (!tn_test_check(*error != NULL, FALSE, file, line, "an error was expected, none was set"))
        return FALSE;
    gboolean ok =
        tn_test_check((*error)->domain == domain && (*error)->code == code, FALSE, file, line,
                      "error %s %d was expected, got %s %d: %s", g_quark_to_string(domain), code,
                      g_quark_to_string((*error)->domain), (*error)->code, (*error)->message);
    va_list ap;
    va_start(ap, line);
    for (const char *word = va_arg(ap, const char *); word != NULL; word = va_arg(ap, const char *))
        ok &= tn_test_contains((*error)->message, word, "the message", file, line);
    va_end(ap);
    g_clear_error(error);
    return ok;
}

/* ---- folders and files ---- */

static const char *
dir_of(const char *variable, const char *otherwise)
{
    const char *value = g_getenv(variable);
    return value != NULL && *value != '\0' ? value : otherwise;
}

const char *
tn_test_build_dir(void)
{
    return dir_of("TN_BUILD_DIR", TN_DEFAULT_BUILD_DIR);
}

const char *
tn_test_source_dir(void)
{
    return dir_of("TN_SOURCE_DIR", TN_DEFAULT_SOURCE_DIR);
}

static int
remove_one(const char *path, const struct stat *st, int kind, struct FTW *where)
{
    (void)st;
    (void)kind;
    (void)where;
    return remove(path);
}

static void
remove_tmp_dir(void)
{
    /* A forked child inherits the handler; the folder belongs to the process that made it. */
    if (state.tmp_dir != NULL && state.tmp_owner == getpid())
        nftw(state.tmp_dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    g_clear_pointer(&state.tmp_dir, g_free);
}

const char *
tn_test_tmp_dir(void)
{
    if (state.tmp_dir == NULL) {
        char *dir = g_build_filename(g_get_tmp_dir(), "tenon-test-XXXXXX", NULL);
        if (mkdtemp(dir) == NULL) {
            g_free(dir);
            tn_test_check(FALSE, TRUE, __FILE__, __LINE__, "no temporary folder in %s",
                          g_get_tmp_dir());
        }
        state.tmp_dir = dir;
        state.tmp_owner = getpid();
        atexit(remove_tmp_dir);
    }
    return state.tmp_dir;
}

char *
tn_test_tmp_path(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    char *name = g_strdup_vprintf(format, ap);
    va_end(ap);
    char *path = g_build_filename(tn_test_tmp_dir(), name, NULL);
    g_free(name);
    return path;
}

char *
tn_test_build_path(const char *below)
{
    return g_build_filename(tn_test_build_dir(), below, NULL);
}

char *
tn_test_source_path(const char *below)
{
    return g_build_filename(tn_test_source_dir(), below, NULL);
}

void
tn_test_write_file(const char *path, const void *bytes, gssize n)
{
    FILE *f = fopen(path, "wb");
    const size_t size = n < 0 ? strlen(bytes) : (size_t)n;
    gboolean ok = f != NULL && fwrite(bytes, 1, size, f) == size;
    if (f != NULL)
        ok &= fclose(f) == 0;
    tn_test_check(ok, TRUE, __FILE__, __LINE__, "cannot write %s", path);
}

char *
tn_test_read_file(const char *path, size_t *n)
{
    char *text = NULL;
    gsize size = 0;
    gboolean ok = g_file_get_contents(path, &text, &size, NULL);
    tn_test_check(ok, TRUE, __FILE__, __LINE__, "cannot read %s", path);
    if (n != NULL)
        *n = size;
    return text;
}
