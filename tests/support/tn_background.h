/* tn_background.h - a program that runs while the test goes on: what it prints goes to a file, it leads
 * a process group of its own, and nothing of it outlives the test program's own end by a test's
 * failure: tn_background_clear() kills the whole group. */
#ifndef TN_BACKGROUND_H
#define TN_BACKGROUND_H

#include <signal.h>
#include <sys/types.h>

#include "tn_test.h"

typedef struct {
    pid_t pid;      /* 0: there is none, or it has ended */
    pid_t group;    /* its first process's */
    int exit_code;  /* once it has ended: what it gave to exit(), or -1 */
    int signal;     /* that ended it, or 0 */
    double began;   /* seconds of the monotonic clock */
    double seconds; /* that it took */
    char *path;     /* of what it prints, stdout and stderr together */
} TnBackground;

/* env: "KEY=value" added to the environment; NULL-terminated, or NULL. A failure ends the test. */
void tn_background_start(TnBackground *child, const char *const *argv, const char *const *env);
/* The same, with something to do in the new process before it becomes the program; it gives 0 or errno,
 * with which the process then ends. */
void tn_background_start_with(TnBackground *child, const char *const *argv, const char *const *env,
                              int (*func)(void *data), void *data);
/* Sends it a signal; FALSE: it has ended. */
gboolean tn_background_kill(TnBackground *child, int number);
/* Whether it ended within so many seconds (with sanitizers five times as many; TnPatience). */
gboolean tn_background_wait(TnBackground *child, double seconds);
/* (transfer full): what it has printed so far. */
char *tn_background_text(const TnBackground *child);
/* Whether it printed `text` within so many seconds; FALSE also when it ended without. */
gboolean tn_background_says(TnBackground *child, const char *text, double seconds);
/* Its end and text as a check: prints the text if the code is another one. */
gboolean tn_background_exit(TnBackground *child, int code, const char *file, unsigned int line);
#define TN_ASSERT_ENDS(child, code) tn_background_exit((child), (code), __FILE__, __LINE__)
/* Kills it with its group if it is there, and frees what it holds. */
void tn_background_clear(TnBackground *child);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(TnBackground, tn_background_clear)

/* Processes whose command line has this word, as `--parent=123`, zombies left out: how many of at most
 * `most`, with their numbers. */
guint tn_background_find(const char *word, guint most, pid_t *pids);
/* Whether no such process is left within so many seconds. */
gboolean tn_background_none(const char *word, double seconds);

#endif
