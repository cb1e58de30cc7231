/* quantity.c: durations and sizes with their units. */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "option/option-private.h"

typedef struct {
    const char *name;
    double factor;
} Unit;

/* A number alone, as a command line gives it, counts seconds or bytes. */
static const Unit durations[] = {
    { "", 1 },      { "s", 1 },        { "ms", 1e-3 },     { "us", 1e-6 }, { "\xc2\xb5s", 1e-6 },
    { "ns", 1e-9 }, { "sec", 1 },      { "min", 60 },      { "m", 60 },    { "h", 3600 },
    { "d", 86400 }, { "days", 86400 }, { "week", 604800 },
};
/* Every factor is a whole number that a double holds exactly. */
static const Unit sizes[] = {
    { "", 1 },         { "B", 1 },        { "kB", 1e3 },     { "KB", 1e3 },
    { "MB", 1e6 },     { "GB", 1e9 },     { "TB", 1e12 },    { "KiB", 0x1p10 },
    { "MiB", 0x1p20 }, { "GiB", 0x1p30 }, { "TiB", 0x1p40 },
};

/* The unit's factor after optional blanks; 0 if unknown. */
static double
find_unit(const Unit *units, gsize n, const char *text)
{
    while (*text == ' ')
        text++;
    for (gsize i = 0; i < n; i++)
        if (strcmp(units[i].name, text) == 0)
            return units[i].factor;
    return 0;
}

/* A plain decimal number at the start of text; NULL if there is none. */
static const char *
read_number(const char *text, double *number)
{
    char *end = NULL;
    const char *digits = *text == '-' ? text + 1 : text;
    if (!g_ascii_isdigit(*digits) && *digits != '.')
        return NULL;
    *number = g_ascii_strtod(text, &end);
    return end > text && isfinite(*number) ? end : NULL;
}

gboolean
tn_quantity_duration(const char *text, double *seconds)
{
    double number;
    const char *rest = read_number(text, &number);
    const double factor = rest ? find_unit(durations, G_N_ELEMENTS(durations), rest) : 0;
    if (factor == 0)
        return FALSE;
    /* 3 ms is the double nearest to 0.003, which is 3 / 1000 and not 3 * 0.001. */
    *seconds = factor < 1 ? number / round(1 / factor) : number * factor;
    return TRUE;
}

gboolean
tn_quantity_size(const char *text, guint64 *bytes)
{
    double number;
    char *end = NULL;
    errno = 0;
    const guint64 whole = g_ascii_isdigit(*text) ? g_ascii_strtoull(text, &end, 10) : 0;
    const gboolean is_whole = end && *end != '.' && *end != 'e' && errno == 0;
    const char *rest = is_whole ? end : read_number(text, &number);
    const double factor = rest ? find_unit(sizes, G_N_ELEMENTS(sizes), rest) : 0;
    if (factor == 0)
        return FALSE;
    if (is_whole)
        return !__builtin_mul_overflow(whole, (guint64)factor, bytes);
    const double product = round(number * factor);
    if (number < 0 || product >= 0x1p64)
        return FALSE;
    *bytes = (guint64)product;
    return TRUE;
}
