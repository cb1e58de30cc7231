/* tiles.h: AMX's instructions, for the kernels that use them.
 *
 * With CPU_TILES_EMULATED (CMake's TN_EMULATE_TILES) each is a function instead, so that those kernels run on any
 * processor that has AVX512_BF16, and a sanitizer sees what they read and write: it does not see what the instructions
 * do. Results may differ from the instructions' in denormal numbers, which those take for 0. */
#pragma once

#include <immintrin.h>

#include <glib.h>

#if defined(CPU_TILES_EMULATED)

#define CPU_TARGET_TILES
#define CPU_TARGET_TILES_8

/* Tile numbers are 0 to 7; steps between rows are in bytes. tiles_emulated.c. */
void cpu_tile_config(const void *config);
void cpu_tile_zero(gint tile);
void cpu_tile_load(gint tile, const void *from, gint64 step);
void cpu_tile_store(gint tile, void *to, gint64 step);
/* sums[m][n] += a[m][k] b[k][n]: pairs of bf16 into f32, fours of u8 (a) and s8 (b) into i32. */
void cpu_tile_pairs(gint sums, gint a, gint b);
void cpu_tile_fours(gint sums, gint a, gint b);

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#undef _tile_dpbusd
#define _tile_loadconfig(config) cpu_tile_config(config)
#define _tile_release() ((void)0)
#define _tile_zero(tile) cpu_tile_zero(tile)
#define _tile_loadd(tile, from, step) cpu_tile_load((tile), (from), (gint64)(step))
#define _tile_stored(tile, to, step) cpu_tile_store((tile), (to), (gint64)(step))
#define _tile_dpbf16ps(sums, a, b) cpu_tile_pairs((sums), (a), (b))
#define _tile_dpbusd(sums, a, b) cpu_tile_fours((sums), (a), (b))

#else

#define CPU_TARGET_TILES __attribute__((target("amx-tile,amx-bf16")))
#define CPU_TARGET_TILES_8 __attribute__((target("amx-tile,amx-int8")))

#endif
