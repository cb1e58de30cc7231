/* hdf5-private.h: what the reader and the writer share: dtypes and errors of HDF5. */
#pragma once

#include <hdf5.h>

#include <tenon/base.h>
#include <tenon/dataset.h>

/* HDF5's native type for a dtype; -1 if there is none. */
hid_t h5_native(TnDtype dtype);
/* The dtype that a stored type reads as; TN_DTYPE_NONE if none does. */
TnDtype h5_dtype(hid_t type);
/* The innermost text of HDF5's error stack, which is then cleared. (transfer full). */
char *h5_error_text(void);
/* Sets *error (TN_ERROR_IO or the code given) to "PATH: WHAT: HDF5's text". FALSE. */
gboolean h5_fail(GError **error, TnErrorCode code, const char *path, const char *what);
/* Keeps HDF5 from printing; once per process. */
void h5_quiet(void);

extern const TnFactory h5_dataset_factory, h5_writer_factory;
