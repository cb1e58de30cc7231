/* program.c: what is made of a program once it stands: references, what it says of itself. */
#include "program-private.h"

#include <string.h>

#include "compile-private.h"
#include "kernels.h"

TnStatus
tn_copy_run(void *state, const TnRun *run)
{
    const TnCopyState *copy = state;
    if (copy->bytes == 0) {
        return TN_OK;
    }
    return tn_device_copy(copy->device, run->out[0], run->in[0], copy->bytes, copy->kind,
                          run->stream);
}

/* --- Freeing ---------------------------------------------------------------------------------- */

static void
free_instruction(TnInstruction *code, TnInstructionInfo *info)
{
    if (info->op == &tn_keep_op) {
        /* Its state is that of the instruction that reads what it keeps. */
    } else if (info->kernel == NULL) {
        g_free(code->state);
    } else if (info->kernel->release != NULL) {
        info->kernel->release(code->state);
    }
    g_free(info->name);
}

static void
free_ports(TnProgramPort *ports, guint n)
{
    for (guint i = 0; i < n; i++) {
        g_free(ports[i].name);
        g_clear_pointer(&ports[i].value, tn_tensor_unref);
    }
    g_free(ports);
}

void
tn_program_destroy(TnProgram *program)
{
    for (guint i = 0; i < program->n_instructions; i++) {
        free_instruction(&program->instructions[i], &program->infos[i]);
    }
    for (guint i = 0; i < program->n_constants; i++) {
        g_clear_pointer(&program->constants[i].tensor, tn_tensor_unref);
        g_clear_pointer(&program->constants[i].storage, tn_storage_unref);
    }
    for (guint i = 0; i < program->n_outputs; i++) {
        g_free(program->outputs[i].name);
    }
    free_ports(program->inputs, program->n_inputs);
    free_ports(program->variables, program->n_variables);
    for (guint i = 0; i < program->n_devices; i++) {
        tn_device_unref(program->devices[i]);
    }
    g_free(program->devices);
    g_free(program->space);
    g_free(program->spaces);
    g_free(program->slots);
    g_free(program->children);
    g_free(program->instructions);
    g_free(program->infos);
    g_free(program->places);
    g_free(program->types);
    g_free(program->constants);
    g_free(program->outputs);
    g_free(program->patches);
    g_free(program->streams);
    g_free(program->waits);
    g_free(program->event_device);
    g_clear_pointer(&program->key, g_bytes_unref);
    tn_graph_unref(program->graph);
    g_free(program->name);
    g_free(program);
}

/* --- Reading ---------------------------------------------------------------------------------- */

const char *
tn_program_name(const TnProgram *program)
{
    return program->name;
}

guint64
tn_program_arena_bytes(const TnProgram *program)
{
    return program->arena_bytes;
}

guint64
tn_program_live_bytes(const TnProgram *program)
{
    return program->live_bytes;
}

guint
tn_program_n_instructions(const TnProgram *program)
{
    return program->n_instructions;
}

static void
print_place(GString *text, const TnPlace *place)
{
    static const char *const names[] = { "-", "arena", "input", "variable", "constant" };
    g_string_append(text, names[place->kind]);
    if (place->kind == TN_PLACE_NONE) {
        return;
    }
    if (place->kind != TN_PLACE_ARENA || place->index > 0) {
        g_string_append_printf(text, " %u", place->index);
    }
    if (place->kind == TN_PLACE_ARENA || place->offset > 0) {
        g_string_append_printf(text, " +%" G_GSIZE_FORMAT, place->offset);
    }
}

static void
print_arg(GString *text, const TnProgram *program, guint32 arg)
{
    if (program->types[arg].dtype == TN_DTYPE_NONE) {
        g_string_append(text, " -");
        return;
    }
    g_autofree char *type = tn_type_print(&program->types[arg]);
    g_string_append_printf(text, " %s (", type);
    print_place(text, &program->places[arg]);
    g_string_append_c(text, ')');
}

static void
print_instruction(GString *text, const TnProgram *program, guint number)
{
    const TnInstruction *code = &program->instructions[number];
    const TnInstructionInfo *info = &program->infos[number];
    g_string_append_printf(text, "%4u %-6s %-16s %s:", number,
                           tn_device_name(program->devices[info->device]), info->op->name,
                           info->name);
    for (guint i = 0; i < (guint)code->n_in + code->n_out; i++) {
        g_string_append(text, i == code->n_in ? " ->" : "");
        print_arg(text, program, code->first_arg + i);
    }
    if (code->stream > 0) {
        g_string_append_printf(text, " stream %u", code->stream);
    }
    for (guint i = 0; i < code->n_waits; i++) {
        g_string_append_printf(text, " wait %u", program->waits[code->first_wait + i]);
    }
    if (code->signal != TN_NO_EVENT) {
        g_string_append_printf(text, " signal %u", code->signal);
    }
    if (info->kernel != NULL && info->kernel->rank > 0) {
        g_autofree char *id = tn_kernel_id(info->kernel);
        g_string_append_printf(text, " kernel %s", id);
    }
    g_string_append(text, number < program->n_once ? " once" : "");
    if (info->kernel != NULL && (info->kernel->flags & TN_KERNEL_SLOW)) {
        g_string_append(text, " slow");
    }
    g_string_append_c(text, '\n');
}

char *
tn_program_print(const TnProgram *program)
{
    GString *text = g_string_new(NULL);
    g_string_append_printf(text,
                           "program '%s': %u instructions, arena %" G_GUINT64_FORMAT
                           " bytes, %" G_GUINT64_FORMAT " alive at most\n",
                           program->name, program->n_instructions, program->arena_bytes,
                           program->live_bytes);
    for (guint i = 0; i < program->n_instructions; i++) {
        print_instruction(text, program, i);
    }
    for (guint i = 0; i < program->n_children; i++) {
        g_autofree char *inner = tn_program_print(program->children[i].program);
        g_string_append(text, inner);
    }
    return g_string_free(text, FALSE);
}

static gint
by_text(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void
list_kernels(const TnProgram *program, GPtrArray *lines)
{
    for (guint i = 0; i < program->n_instructions; i++) {
        const TnInstructionInfo *info = &program->infos[i];
        g_ptr_array_add(lines, g_strdup_printf("%s %s", info->op->name,
                                               tn_device_name(program->devices[info->device])));
    }
    for (guint i = 0; i < program->n_children; i++) {
        list_kernels(program->children[i].program, lines);
    }
}

char *
tn_program_kernels(const TnProgram *program)
{
    GString *text = g_string_new(NULL);
    g_autoptr(GPtrArray) lines = g_ptr_array_new_with_free_func(g_free);
    list_kernels(program, lines);
    g_ptr_array_sort(lines, by_text);
    for (guint i = 0, n; i < lines->len; i += n) {
        const char *line = g_ptr_array_index(lines, i);
        for (n = 1; i + n < lines->len && strcmp(line, g_ptr_array_index(lines, i + n)) == 0; n++) {
        }
        g_string_append_printf(text, "%s %u\n", line, n);
    }
    return g_string_free(text, FALSE);
}
