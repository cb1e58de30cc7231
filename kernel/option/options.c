/* options.c: finding rows. */
#include <string.h>

#include "option/option-private.h"

const TnOption *
tn_options_row(const TnOptions *options, guint32 i)
{
    const gsize step = options->row_size ? options->row_size : sizeof(TnOption);
    return (const TnOption *)((const char *)options->rows + i * step);
}

const TnOption *
tn_options_find(const TnOptions *options, const char *name)
{
    for (guint32 i = 0; i < options->n; i++) {
        const TnOption *row = tn_options_row(options, i);
        if (strcmp(row->name, name) == 0 || g_strcmp0(row->was, name) == 0)
            return row;
    }
    return NULL;
}

TnOptions
tn_option_sub(const TnOption *row, guint32 row_size)
{
    return (TnOptions){ .row_size = row_size, .n = row->n_sub, .rows = row->sub };
}

gint
tn_option_choice(const TnOption *row, const char *name, gsize length)
{
    for (gint i = 0; row->choices && row->choices[i]; i++)
        if (strlen(row->choices[i]) == length && strncmp(row->choices[i], name, length) == 0)
            return i;
    return -1;
}
