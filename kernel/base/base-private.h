/* base-private.h: what the kernel's rooms share of base/ and do not show. */
#pragma once

#include <tenon/base.h>
#include <tenon/dtype.h>

/* Sets *error from errno: TN_ERROR_NOT_FOUND for a missing file, TN_ERROR_IO otherwise. */
void tn_set_io_error(GError **error, const char *path, const char *doing);

#define TN_NUMBER_TEXT 40 /* bytes of room for any number as text */
/* The shortest decimal text that reads back as value in a dtype of class float, whatever the
 * locale; "inf", "-inf", "nan". Returns buffer. */
const char *tn_print_float(double value, TnDtype dtype, char buffer[TN_NUMBER_TEXT]);
