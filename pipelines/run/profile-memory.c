/* profile-memory.c: what a profile says of memory: the arenas of programs, how much of the largest
 * is in use at each instruction, and what lies in it where that is most. */
#include "profile-private.h"

#define MOST_PIECES 20
#define MOST_MOMENTS 24
#define BAR 40

const char *
tn_profile_bytes(guint64 bytes, char buffer[PROFILE_BYTES])
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
    double value = (double)bytes;
    guint unit = 0;
    while (value >= 1024 && unit + 1 < G_N_ELEMENTS(units)) {
        value /= 1024;
        unit++;
    }
    g_snprintf(buffer, PROFILE_BYTES, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
    return buffer;
}

static void
print_programs(GString *text, const ProfileReport *report)
{
    g_string_append_printf(text, "\n%-24s %9s %13s %12s %12s\n", "program", "runs", "instructions",
                           "arena", "most in use");
    for (guint i = 0; i < report->programs->len; i++) {
        const ProfileProgram *program = g_ptr_array_index(report->programs, i);
        char arena[PROFILE_BYTES], live[PROFILE_BYTES];
        g_string_append_printf(text, "%-24s %9" G_GUINT64_FORMAT " %13u %12s %12s\n",
                               tn_program_name(program->program), program->runs,
                               tn_program_n_instructions(program->program),
                               tn_profile_bytes(tn_program_arena_bytes(program->program), arena),
                               tn_profile_bytes(tn_program_live_bytes(program->program), live));
    }
}

static const TnProgram *
largest_program(const ProfileReport *report)
{
    const TnProgram *largest = NULL;
    for (guint i = 0; i < report->programs->len; i++) {
        const ProfileProgram *program = g_ptr_array_index(report->programs, i);
        if (!largest || tn_program_live_bytes(program->program) > tn_program_live_bytes(largest))
            largest = program->program;
    }
    return largest;
}

/* Where the arena is fullest. */
static guint
fullest(const GArray *live)
{
    guint at = 0;
    for (guint i = 1; i < live->len; i++)
        if (g_array_index(live, guint64, i) > g_array_index(live, guint64, at))
            at = i;
    return at;
}

/* Of a few instructions in a row the one that uses most stands for all. */
static void
print_moments(GString *text, const TnProgram *program, const GArray *live)
{
    const guint64 most = MAX(g_array_index(live, guint64, fullest(live)), 1);
    const guint stride = (live->len + MOST_MOMENTS - 1) / MOST_MOMENTS;
    g_string_append_printf(text, "\n%11s %12s  in use during one run of '%s'\n", "instruction",
                           "in use", tn_program_name(program));
    for (guint begin = 0; begin < live->len; begin += stride) {
        guint at = begin;
        char bytes[PROFILE_BYTES], bar[BAR + 1];
        TnProgramStep info = { .size = sizeof info };
        for (guint i = begin; i < MIN(begin + stride, live->len); i++)
            if (g_array_index(live, guint64, i) > g_array_index(live, guint64, at))
                at = i;
        const guint64 used = g_array_index(live, guint64, at);
        const guint length = (guint)(used * BAR / most);
        memset(bar, '#', length);
        bar[length] = '\0';
        tn_program_step(program, at, &info);
        g_string_append_printf(text, "%11u %12s  %-*s %s\n", at, tn_profile_bytes(used, bytes), BAR,
                               bar, info.name);
    }
}

static void
print_pieces(GString *text, const TnProgram *program, guint at)
{
    g_autoptr(GArray) pieces = tn_program_pieces(program, at);
    char bytes[PROFILE_BYTES];
    guint64 rest = 0;
    g_string_append_printf(text, "\n%12s %12s %13s  alive at instruction %u\n", "bytes", "offset",
                           "instructions", at);
    for (guint i = 0; i < pieces->len; i++) {
        const TnProgramPiece *piece = &g_array_index(pieces, TnProgramPiece, i);
        if (i >= MOST_PIECES) {
            rest += piece->bytes;
            continue;
        }
        g_autofree char *type = piece->type ? tn_type_print(piece->type) : g_strdup("scratch");
        g_autofree char *life = g_strdup_printf("%u-%u", piece->first, piece->last);
        g_string_append_printf(text, "%12s %12" G_GUINT64_FORMAT " %13s  %s %s\n",
                               tn_profile_bytes(piece->bytes, bytes), piece->offset, life,
                               piece->name, type);
    }
    if (rest)
        g_string_append_printf(text, "%12s %12s %13s  (the rest)\n", tn_profile_bytes(rest, bytes),
                               "", "");
}

static void
print_variables(GString *text, const TnContext *context)
{
    const TnStore *store = tn_context_store(context);
    guint64 sum = 0;
    char bytes[PROFILE_BYTES];
    for (guint i = 0; i < tn_store_n(store); i++)
        sum += (guint64)tn_tensor_bytes(tn_var_tensor(tn_store_at(store, i)));
    g_string_append_printf(text, "\nbeside the arenas: %u variables, %s\n", tn_store_n(store),
                           tn_profile_bytes(sum, bytes));
}

void
tn_profile_print_memory(GString *text, const ProfileReport *report, const TnContext *context)
{
    const TnProgram *program = largest_program(report);
    if (program && tn_program_n_instructions(program) > 0) {
        g_autoptr(GArray) live = g_array_new(FALSE, FALSE, sizeof(guint64));
        TnProgramStep info = { .size = sizeof info };
        for (guint i = 0; tn_program_step(program, i, &info); i++)
            g_array_append_val(live, info.live_bytes);
        print_programs(text, report);
        print_moments(text, program, live);
        print_pieces(text, program, fullest(live));
    }
    if (context)
        print_variables(text, context);
}
