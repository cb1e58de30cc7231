/* float-mode.c: the one floating-point mode that all kernels compute in, whichever thread they are
 * on. */
#include <tenon/pool.h>

#if defined(__x86_64__)

#include <xmmintrin.h>

/* Every exception masked, nearest, flush to zero (bit 15). Denormal operands stay what they are
 * (bit 6): they only come from outside, for no result is one. */
#define COMPUTE (0x1f80U | 1U << 15)
#define FLAGS 0x3fU /* what has happened so far: no part of the mode */

TnFloatMode
tn_float_mode_enter(void)
{
    const guint before = _mm_getcsr();
    if ((before & ~FLAGS) != COMPUTE)
        _mm_setcsr(COMPUTE);
    return before;
}

void
tn_float_mode_leave(TnFloatMode before)
{
    if (((guint)before & ~FLAGS) != COMPUTE)
        _mm_setcsr((guint)before);
}

#elif defined(__aarch64__)

#define COMPUTE (1ULL << 24) /* FPCR.FZ: inputs and results; rounding to nearest is 0 */

TnFloatMode
tn_float_mode_enter(void)
{
    guint64 before;
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    if (before != COMPUTE)
        __asm__ volatile("msr fpcr, %0" : : "r"(COMPUTE));
    return before;
}

void
tn_float_mode_leave(TnFloatMode before)
{
    if (before != COMPUTE)
        __asm__ volatile("msr fpcr, %0" : : "r"(before));
}

#else

#include <fenv.h>

TnFloatMode
tn_float_mode_enter(void)
{
    const int before = fegetround();
    if (before != FE_TONEAREST)
        fesetround(FE_TONEAREST);
    return (TnFloatMode)before;
}

void
tn_float_mode_leave(TnFloatMode before)
{
    if ((int)before != FE_TONEAREST)
        fesetround((int)before);
}

#endif
