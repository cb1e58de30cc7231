/* parse.h: the IDX format: a head that says type and sizes, then big-endian elements. */
#pragma once

#include <tenon/tensor.h>

/* Reads the head of an IDX file: type (with the number of samples as dims[0]) and where the
 * elements begin. bytes: at least the head, size: of the whole (unpacked) file. name: for messages.
 * TN_ERROR_CORRUPT otherwise. */
gboolean idx_parse_head(const guint8 *bytes, gsize size, const char *name, TnType *type,
                        gsize *begin, GError **error);
/* Bytes that a file with this head has; 0 if no sound file begins so. At most IDX_HEAD bytes are
 * looked at. */
#define IDX_HEAD (4 + 4 * TN_MAX_RANK)
gsize idx_whole_size(const guint8 *bytes, gsize size);
/* Turns n big-endian elements of the dtype into the host's order, in place. */
void idx_swap(TnDtype dtype, void *elements, gsize n);
