/* random_words.h: random words of many blocks at once. */
#pragma once

#include "cpu.h"

/* Words 4 block … 4 (block + n) - 1 of a stream at a step: tn_random_words of each block. key:
 * tn_random_key's. */
typedef void (*RandomWordsFn)(const guint32 key[2], guint64 step, guint64 block, gint64 n,
                              guint32 *words);
extern const RandomWordsFn cpu_random_words[CPU_N_ISA];
