/* process.h: processes that this one starts for its stages, and what became of them. */
#pragma once

#include <glib.h>

typedef struct TnProcess TnProcess;
/* Starts words (NULL-terminated, the program first) with our standard error; its standard
 * input and output are nowhere. (transfer full). */
TnProcess *tn_process_start(const char *const *words, GError **error);
gint tn_process_pid(const TnProcess *process);
/* Looks, without waiting, whether it has ended. */
gboolean tn_process_ended(TnProcess *process);
/* How it ended: "killed by signal 9 (Killed)", "exit code 2". (transfer full). */
char *tn_process_fate(const TnProcess *process);
/* Of one that has ended: its exit code; -1: a signal ended it. */
gint tn_process_code(const TnProcess *process);
void tn_process_kill(TnProcess *process);
/* Waits for its end for so long, then kills it. */
void tn_process_free(TnProcess *process, gint patience_ms);
