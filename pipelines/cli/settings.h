/* settings.h: what a run was started with that its config does not say, kept in its folder for
 * `tenon resume`. */
#pragma once

#include "job-verbs.h"

/* settings.json: {"config": path, "data_root": folder, "trust": bool, "overrides": ["key=value",
 * …]}. */
typedef struct {
    char *config;         /* the path given, absolute, or a module of the library */
    char *data_root;      /* absolute, whichever way it was found */
    gboolean trust;       /* not handed on to a resume: it must say so again */
    GPtrArray *overrides; /* of char *: in the order in which they apply, each key once */
} Settings;

/* Of a first run: nothing but the config. */
void settings_init(Settings *settings, const char *config);
void settings_clear(Settings *settings);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Settings, settings_clear)
/* An override of the command line. It takes the place of one of the same key given before: keys may
 * overlap ("data.shape" and "data.shape[1]"), so their order is kept. */
void settings_override(Settings *settings, const char *text);
gboolean settings_read(Settings *settings, TnRunDir *run, GError **error);
gboolean settings_write(const Settings *settings, TnRunDir *run, GError **error);
