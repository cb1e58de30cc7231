/* inspect.c: what a program says of its instructions and its memory to those who measure it. */
#include "compile-private.h"
#include "kernels.h"
#include "program-private.h"

#include <string.h>

#include <tenon/plugin.h>

/* --- Instructions ----------------------------------------------------------------------------- */

static const TnGraphNode *
node_of(const TnProgram *program, guint i)
{
    return tn_graph_node(program->graph, program->infos[i].node);
}

static double
flops_of(const TnProgram *program, guint i)
{
    const TnInstructionInfo *info = &program->infos[i];
    const TnGraphNode *node = node_of(program, i);
    TnType in[TN_MAX_IN] = { 0 };
    if (info->kernel == NULL) {
        return 0;
    }
    for (gint k = 0; k < node->n_in; k++) {
        if (!tn_val_is_none(node->in[k])) {
            in[k] = *tn_type_of(program->graph, node->in[k]);
        }
    }
    return tn_op_flops(node->op, node->attrs, node->n_in, in, node->n_out, node->out);
}

static gboolean
is_alive(const TnProgramSlot *slot, guint i)
{
    return slot->first <= i && i <= slot->last;
}

static guint64
live_bytes(const TnProgram *program, guint i)
{
    guint64 sum = 0;
    for (guint k = 0; k < program->n_slots; k++) {
        sum += is_alive(&program->slots[k], i) ? program->slots[k].bytes : 0;
    }
    return sum;
}

/* Fills kernel and plugin. */
static void
name_kernel(const TnKernel *kernel, TnProgramStep *info)
{
    g_autofree char *id = kernel != NULL ? tn_kernel_id(kernel) : g_strdup("");
    g_autofree char *table = g_strndup(id, strcspn(id, " "));
    const TnFactory *factory = *table ? tn_registry_find("tenon.kernel/1", table, NULL) : NULL;
    info->kernel = tn_intern(id);
    info->plugin = tn_intern(factory != NULL ? tn_registry_owner(factory) : "");
}

gboolean
tn_program_step(const TnProgram *program, guint i, TnProgramStep *info)
{
    if (i >= program->n_instructions) {
        return FALSE;
    }
    const TnInstruction *code = &program->instructions[i];
    const TnInstructionInfo *about = &program->infos[i];
    TnProgramStep full = {
        .size = MIN(info->size, sizeof(TnProgramStep)),
        .name = about->name,
        .op = about->op,
        .device = tn_device_name(program->devices[about->device]),
        .n_in = code->n_in,
        .n_out = code->n_out,
        .types = &program->types[code->first_arg],
        .bytes_read = about->bytes_read,
        .flops = flops_of(program, i),
        .live_bytes = live_bytes(program, i),
    };
    name_kernel(about->kernel, &full);
    for (guint k = 0; k < code->n_out; k++) {
        full.bytes_written += (guint64)tn_type_bytes(&full.types[code->n_in + k]);
    }
    memcpy(info, &full, full.size);
    return TRUE;
}

char *
tn_program_group(const TnProgram *program, guint i)
{
    const TnGraphNode *node = node_of(program, i);
    if (program->infos[i].op != tn_source_ops()->fused) {
        return NULL;
    }
    const TnGraph *group = ((const TnCallAttrs *)node->attrs)->graph;
    g_autoptr(GString) text = g_string_new(NULL);
    for (guint k = 0; k < group->nodes->len; k++) {
        const TnGraphNode *member = tn_graph_node(group, k);
        if (!tn_is_source(member)) {
            g_string_append_printf(text, "%s%s", text->len > 0 ? " " : "", member->op->name);
        }
    }
    return g_strdup(text->str);
}

double
tn_program_flops(const TnProgram *program, guint *unknown)
{
    double sum = 0;
    guint n = 0;
    for (guint i = program->n_once; i < program->n_instructions; i++) {
        const double flops = flops_of(program, i);
        sum += MAX(flops, 0);
        n += flops < 0;
    }
    if (unknown != NULL) {
        *unknown = n;
    }
    return sum;
}

/* --- Memory ----------------------------------------------------------------------------------- */

static gboolean
lies_in(const TnProgram *program, const TnPlace *place, const TnProgramSlot *slot)
{
    return place->kind == TN_PLACE_ARENA && program->spaces[place->index].bytes > 0 &&
           place->index == slot->space && place->offset == slot->offset;
}

/* Whether instruction k writes into slot; its output's type, or NULL for scratch, in *type. */
static gboolean
writes(const TnProgram *program, guint k, const TnProgramSlot *slot, const TnType **type)
{
    const TnInstruction *code = &program->instructions[k];
    for (guint i = 0; i < code->n_out; i++) {
        const guint32 arg = code->first_arg + code->n_in + i;
        if (lies_in(program, &program->places[arg], slot)) {
            *type = &program->types[arg];
            return TRUE;
        }
    }
    *type = NULL;
    return slot->first == slot->last && lies_in(program, &code->scratch, slot);
}

static TnProgramPiece
piece_of(const TnProgram *program, const TnProgramSlot *slot, guint i)
{
    TnProgramPiece piece = {
        .size = sizeof(TnProgramPiece),
        .space = slot->space,
        .offset = slot->offset,
        .bytes = slot->bytes,
        .first = slot->first,
        .last = slot->last,
        .name = "",
    };
    for (guint k = i + 1; k-- > slot->first && *piece.name == '\0';) {
        if (writes(program, k, slot, &piece.type)) {
            piece.name = program->infos[k].name;
        }
    }
    return piece;
}

static gint
larger_piece(gconstpointer a, gconstpointer b)
{
    const TnProgramPiece *x = a, *y = b;
    if (x->bytes != y->bytes) {
        return x->bytes < y->bytes ? 1 : -1;
    }
    return (x->offset > y->offset) - (x->offset < y->offset);
}

GArray *
tn_program_pieces(const TnProgram *program, guint i)
{
    GArray *pieces = g_array_new(FALSE, FALSE, sizeof(TnProgramPiece));
    for (guint k = 0; k < program->n_slots && i < program->n_instructions; k++) {
        const TnProgramSlot *slot = &program->slots[k];
        if (is_alive(slot, i) && slot->bytes > 0) {
            const TnProgramPiece piece = piece_of(program, slot, i);
            g_array_append_val(pieces, piece);
        }
    }
    g_array_sort(pieces, larger_piece);
    return pieces;
}
