/* main.c: the program `tenon`: finds the verb, reads its options by its rows, calls it, and says
 * once what went wrong. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

/* What a user can mend by typing something else is 2, the rest 1. */
static int
exit_code(const GError *error, int returned)
{
    if (error == NULL)
        return returned;
    if (error->domain == TN_ERROR &&
        (error->code == TN_ERROR_USAGE || error->code == TN_ERROR_CONFIG ||
         error->code == TN_ERROR_NOT_FOUND))
        return 2;
    return MAX(returned, 1);
}

/* Says an error once. A message of several lines is a list of faults, each of which names its own
 * place. */
static int
fail(const GError *error, int returned)
{
    const gboolean many = strchr(error->message, '\n') != NULL;
    fprintf(stderr, many ? "%s%s\n" : "%s: %s\n", many ? "" : "tenon", error->message);
    return exit_code(error, returned);
}

static gboolean
reader_is_gone(void)
{
    struct pollfd out = { .fd = STDOUT_FILENO, .events = POLLOUT };
    return poll(&out, 1, 0) == 1 && (out.revents & (POLLERR | POLLHUP)) != 0;
}

/* A reader that went away (`tenon ops | head`) is no failure; a full disk is. What an earlier write failed
 * with is not known any more. */
static int
close_output(int code)
{
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    const int why = errno;
    if (why == EPIPE || reader_is_gone())
        return code;
    fprintf(stderr, "tenon: what was to be printed could not be written%s%s\n", why ? ": " : "; ",
            why ? g_strerror(why) : "is the disk full?");
    return MAX(code, 1);
}

static gboolean
wants_color(void)
{
    const char *no = g_getenv("NO_COLOR");
    const char *term = g_getenv("TERM");
    return isatty(STDOUT_FILENO) && (no == NULL || *no == '\0') && g_strcmp0(term, "dumb") != 0;
}

static gboolean
check_count(const TnVerb *verb, guint n, GError **error)
{
    const char *args = verb->args != NULL ? verb->args : "";
    if ((gint)n < verb->min_args) {
        g_set_error(error, TN_ERROR, TN_ERROR_USAGE, "usage: tenon %s %s; see tenon %s --help",
                    verb->name, args, verb->name);
        return FALSE;
    }
    if (verb->max_args >= 0 && (gint)n > verb->max_args) {
        g_set_error(error, TN_ERROR, TN_ERROR_USAGE, "'%s' takes %s; usage: tenon %s%s%s",
                    verb->name, verb->max_args == 0 ? "no argument" : "fewer arguments", verb->name,
                    *args != '\0' ? " " : "", args);
        return FALSE;
    }
    return TRUE;
}

/* Options as a filled struct; faults in the words of the command line. */
static TnConfig *
fill_options(const TnVerb *verb, const TnValue *options, GError **error)
{
    g_autoptr(TnFaults) faults = tn_faults_new();
    g_autofree char *folder = g_get_current_dir();
    TnConfig *config =
        tn_config_parse(&verb->options, options, NULL, (TnWhere){ NULL, 0 }, folder, faults);
    if (config != NULL)
        return config;
    g_autoptr(GString) text = g_string_new(NULL);
    for (gsize i = 0; i < tn_faults_count(faults); i++)
        g_string_append_printf(text, "%s--%s", i > 0 ? "; " : "", tn_faults_text(faults, i));
    g_set_error_literal(error, TN_ERROR, TN_ERROR_USAGE, text->str);
    return NULL;
}

static int
call_verb(const TnVerb *verb, int argc, char **argv, gboolean json, GError **error)
{
    Args args = { 0 };
    g_autoptr(TnConfig) config = NULL;
    int code = 2;
    if (!args_parse(verb, argc, argv, &args, error))
        goto out;
    if (args.help) {
        print_verb_help(stdout, wants_color(), verb);
        code = 0;
        goto out;
    }
    if (!check_count(verb, args.words->len, error))
        goto out;
    const guint n_words = args.words->len;
    g_ptr_array_add(args.words, NULL);
    config = fill_options(verb, args.options, error);
    if (config == NULL)
        goto out;
    TnVerbCall call = { .size = sizeof call,
                        .verb = verb,
                        .n_args = (gint)n_words,
                        .args = (const char *const *)args.words->pdata,
                        .options = tn_config_data(config),
                        .out = stdout,
                        .err = stderr,
                        .color = wants_color(),
                        .json = json || args.json };
    code = verb->run(&call, error);
out:
    args_clear(&args);
    return code;
}

/* The words before the verb. TRUE: all is said, *code is set. *i is left at the verb. */
static gboolean
take_leading(int argc, char **argv, int *i, gboolean *json, int *code, GError **error)
{
    *code = 0;
    for (; *i < argc && argv[*i][0] == '-'; (*i)++) {
        const char *word = argv[*i];
        if (strcmp(word, "--version") == 0) {
            printf("tenon %s\n", tn_version());
            return TRUE;
        }
        if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
            print_overview(stdout, wants_color());
            return TRUE;
        }
        if (strcmp(word, "--json") == 0) {
            *json = TRUE;
        } else if (!args_take_plugin_path(argc, argv, i, error)) {
            if (error != NULL && *error == NULL)
                g_set_error(error, TN_ERROR, TN_ERROR_USAGE,
                            "there is no option '%s'; see tenon --help", word);
            *code = 2;
            return TRUE;
        }
    }
    return FALSE;
}

static int
run(int argc, char **argv, GError **error)
{
    gboolean json = FALSE;
    int i = 1, code, n_words;
    if (take_leading(argc, argv, &i, &json, &code, error))
        return code;
    if (i == argc) {
        print_overview(stderr, FALSE);
        return 2;
    }
    const TnVerb *verb = verb_find(argc - i, argv + i, &n_words, error);
    if (verb == NULL)
        return 2;
    return call_verb(verb, argc - i - n_words, argv + i + n_words, json, error);
}

/* Standard streams that the caller closed: a file opened later would get their number and what is
 * printed. The other direction than theirs, so that using one is still an error. */
static void
hold_standard_streams(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
            (void)!open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

int
main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    hold_standard_streams();
    /* A write to a reader that is gone is an error to look at, not a signal to die of. */
    signal(SIGPIPE, SIG_IGN);
    /* So is one beyond the size that files may have (ulimit -f), of memory that is shared too. */
    signal(SIGXFSZ, SIG_IGN);
    int code = run(argc, argv, &error);
    if (error != NULL)
        code = fail(error, code);
    return close_output(code);
}
