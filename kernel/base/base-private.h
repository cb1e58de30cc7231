/* base-private.h: what the kernel's rooms share of base/ and do not show. */
#pragma once

#include <tenon/base.h>

/* Sets *error from errno: TN_ERROR_NOT_FOUND for a missing file, TN_ERROR_IO otherwise. */
void tn_set_io_error(GError **error, const char *path, const char *doing);
