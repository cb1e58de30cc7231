/* temporary.h: files that are to take another's place. */
#pragma once

#include <glib.h>

#define TN_TEMPORARY_NAME 32

/* Makes a file in the open folder, for writing, whose name is put into `name`; it is the caller's until
 * the descriptor is closed: what is to stay has its own name by then. -1 with errno. Thread: any. */
int tn_temporary_open(int folder, char name[TN_TEMPORARY_NAME]);
/* Removes those that processes left that are no more. What cannot be removed stays. Thread: any. */
void tn_temporary_sweep(int folder);
