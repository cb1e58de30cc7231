/* places.c: what stages that run elsewhere do, for those who watch the run: rates between two looks,
 * numbers for the loggers, a line of the progress. */
#include "job-private.h"

#include <tenon/logger.h>

#define SHORT_S 0.5 /* too short a time to tell a rate */

static double
number(const TnValue *map, const char *key)
{
    const TnValue *value = tn_value_get(map, key);
    return !value                                    ? 0
           : tn_value_type(value) == TN_VALUE_DOUBLE ? tn_value_get_double(value)
                                                     : (double)tn_value_get_int(value);
}

/* The same stage as it was seen last; NULL. */
static const TnValue *
before(const TnJob *job, gsize i)
{
    return job->places && i < tn_value_len(job->places) ? tn_value_at(job->places, i) : NULL;
}

/* Between two looks; those that follow at once show what the last one found. */
static void
add_rates(TnValue *now, const TnValue *then, double seconds)
{
    if (then && seconds < SHORT_S) {
        tn_value_set(now, "rate", tn_value_double(number(then, "rate")));
        tn_value_set(now, "lag", tn_value_double(number(then, "lag")));
        return;
    }
    const double frames = number(now, "frames") - (then ? number(then, "frames") : 0);
    const double waited =
        number(now, "seconds_waited") - (then ? number(then, "seconds_waited") : 0);
    tn_value_set(now, "rate", tn_value_double(seconds > 0 ? frames / seconds : 0));
    tn_value_set(now, "lag", tn_value_double(frames > 0 ? 1e3 * waited / frames : 1e3 * waited));
}

/* "wire/scale/rate", "wire/scale/bytes_in" … */
static void
log_numbers(TnJob *job, guint64 step, const TnValue *place)
{
    static const char *const own[] = { "rate", "lag", "queue", "restarts" };
    const char *stage = tn_value_get_string(tn_value_get(place, "stage"));
    const TnValue *wire = tn_value_get(place, "wire");
    for (guint i = 0; i < G_N_ELEMENTS(own); i++) {
        g_autofree char *name = g_strdup_printf("wire/%s/%s", stage, own[i]);
        tn_loggers_scalar(job->loggers, name, step, number(place, own[i]));
    }
    for (gsize i = 0; i < tn_value_len(wire); i++) {
        g_autofree char *name = g_strdup_printf("wire/%s/%s", stage, tn_value_key_at(wire, i));
        tn_loggers_scalar(job->loggers, name, step, number(wire, tn_value_key_at(wire, i)));
    }
}

TnValue *
tn_job_look_at_places(TnJob *job, guint64 step, TnProgress *progress, gpointer stages)
{
    TnStageProgress *shown = stages;
    g_autoptr(TnValue) places = job->pipeline ? tn_pipeline_places(job->pipeline) : NULL;
    const gint64 now = g_get_monotonic_time();
    if (!places || tn_value_len(places) == 0)
        return NULL;
    const double seconds = (double)(now - job->places_at) * 1e-6;
    for (gsize i = 0; i < tn_value_len(places); i++) {
        TnValue *place = tn_value_at(places, i);
        add_rates(place, before(job, i), job->places_at ? seconds : 0);
        if (job->loggers)
            log_numbers(job, step, place);
        if (i < TN_MOST_PLACES)
            shown[progress->n_stages++] = (TnStageProgress){
                .name = tn_value_get_string(tn_value_get(place, "stage")),
                .place = tn_value_get_string(tn_value_get(place, "place")),
                .processes = (guint)tn_value_len(tn_value_get(place, "processes")),
                .queue = (guint)number(place, "queue"),
                .queue_most = (guint)number(place, "queue_most"),
                .rate = number(place, "rate"),
                .lag = number(place, "lag"),
            };
    }
    progress->stages = shown;
    if (!job->places || seconds >= SHORT_S) {
        job->places_at = now;
        tn_value_unref(job->places);
        job->places = tn_value_ref(places);
    }
    return g_steal_pointer(&places);
}
