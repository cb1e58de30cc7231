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
    for (int digits = 1; digits <= 17; digits++) {
        char format[8];
        g_snprintf(format, sizeof format, "%%.%dg", digits);
        g_ascii_formatd(buffer, TN_NUMBER_TEXT, format, value);
        if (reads_back(g_ascii_strtod(buffer, NULL), value, dtype))
            break;
    }
    return buffer;
}
