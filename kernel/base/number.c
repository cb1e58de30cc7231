/* number.c: numbers as text, in the fewest digits that read back as the same number. */
#include <math.h>
#include <string.h>

#include "base/base-private.h"
#include "base/float16.h"

static gboolean
reads_back(double parsed, double value, TnDtype dtype)
{
    switch (dtype) {
    case TN_DTYPE_F32: return (float)parsed == (float)value;
    case TN_DTYPE_F16: return tn_f16_from_f32((float)parsed) == tn_f16_from_f32((float)value);
    case TN_DTYPE_BF16: return tn_bf16_from_f32((float)parsed) == tn_bf16_from_f32((float)value);
    default: return parsed == value;
    }
}

const char *
tn_print_float(double value, TnDtype dtype, char buffer[TN_NUMBER_TEXT])
{
    if (isnan(value))
        return strcpy(buffer, "nan");
    if (isinf(value))
        return strcpy(buffer, value < 0 ? "-inf" : "inf");
    int digits = 0;
    do {
        char format[8];
        g_snprintf(format, sizeof format, "%%.%de", digits);
        g_ascii_formatd(buffer, TN_NUMBER_TEXT, format, value);
    } while (!reads_back(g_ascii_strtod(buffer, NULL), value, dtype) && ++digits < 17);
    const gint64 exponent = g_ascii_strtoll(strchr(buffer, 'e') + 1, NULL, 10);
    /* Sizes that people write without an exponent. */
    char format[8] = "%.17g";
    if (exponent >= -5 && exponent < 16)
        g_snprintf(format, sizeof format, "%%.%df", (int)MAX(digits - exponent, 0));
    else
        g_snprintf(format, sizeof format, "%%.%dg", digits + 1);
    return g_ascii_formatd(buffer, TN_NUMBER_TEXT, format, value);
}
