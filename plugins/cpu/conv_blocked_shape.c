/* conv_blocked_shape.c: the sizes of convolutions over blocks of channels. */
#include "conv_blocked_shape.h"

/* Of all that is counted from these sizes: numbers, their bytes, and those that are put beside them. */
#define MOST (G_MAXINT64 / 4096)

gboolean
blocked_shape(const TnNode *node, BlockedShape *shape)
{
    const TnConvBlockedAttrs *attrs = node->attrs;
    const TnType *x = &node->in[0].type, *w = &node->in[1].type, *y = &node->out[0].type;
    const gboolean plain = x->rank == 4;
    BlockedShape s = { .images = x->dims[0],
                       .blocks_in = plain ? 1 : x->dims[1],
                       .blocks_out = y->dims[1],
                       .channels = plain ? x->dims[1] : x->dims[4],
                       .plain = plain,
                       .n_in = node->n_in,
                       .relu = attrs->relu };
    s.seen_blocks = s.blocks_in / attrs->conv.group;
    s.made_blocks = s.blocks_out / attrs->conv.group;
    gint64 read = cpu_times(cpu_times(s.images, s.blocks_in), cpu_times(s.channels, y->dims[4]));
    for (gint i = 0; i < 2; i++) {
        const TnConvAxis axis = tn_conv_axis(&attrs->conv, 2, i);
        s.window[i] = w->dims[(plain ? 1 : 2) + i];
        s.gap[i] = axis.dilation;
        s.stride[i] = axis.stride;
        s.pad[i] = axis.pad_begin;
        s.x[i] = x->dims[2 + i];
        s.y[i] = y->dims[2 + i];
        s.padded[i] = s.x[i] + axis.pad_begin + axis.pad_end;
        s.pads = s.pads || s.padded[i] != s.x[i];
        read = cpu_times(read, s.padded[i]);
    }
    *shape = s;
    return node->in[0].count > 0 && node->in[1].count > 0 && node->out[0].count > 0 &&
           cpu_times(read, s.window[1]) < MOST && node->in[1].count < MOST &&
           node->out[0].count / y->dims[4] < G_MAXINT32;
}
