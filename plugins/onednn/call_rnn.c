/* call_rnn.c: descriptors of recurrent layers over a sequence. */
#include "ports.h"

static dnnl_primitive_desc_t
rnn_desc(const OneDnnRnn *rnn)
{
    dnnl_memory_desc_t x, y, h, c, w_x, w_h, bias;
    dnnl_rnn_desc_t op;
    if (!onednn_plain_desc(&rnn->x, &x) || !onednn_plain_desc(&rnn->y, &y) ||
        !onednn_plain_desc(&rnn->h, &h) || !onednn_any_desc(&rnn->w_x, &w_x) ||
        !onednn_any_desc(&rnn->w_h, &w_h) || !onednn_plain_desc(&rnn->bias, &bias) ||
        (!rnn->gru && !onednn_plain_desc(&rnn->c, &c))) {
        return NULL;
    }
    /* The last state alone is not given: it is y's last step. */
    const dnnl_status_t status =
        rnn->gru ? onednn.lbr_gru_forward_desc_init(&op, dnnl_forward_inference,
                                                    dnnl_unidirectional_left2right, &x, &h, &w_x,
                                                    &w_h, &bias, &y, NULL, dnnl_rnn_flags_undef)
                 : onednn.lstm_forward_desc_init(&op, dnnl_forward_inference,
                                                 dnnl_unidirectional_left2right, &x, &h, &c, &w_x,
                                                 &w_h, &bias, &y, NULL, NULL, dnnl_rnn_flags_undef);
    return status == dnnl_success ? onednn_desc_new(&op, NULL) : NULL;
}

OneDnnWay
onednn_rnn_way(const OneDnnRnn *rnn)
{
    onednn_enter_thread();
    return onednn_way_of(rnn_desc(rnn)) == ONEDNN_NOT ? ONEDNN_NOT : ONEDNN_BY_CODE;
}

OneDnnCall *
onednn_rnn_new(const OneDnnRnn *rnn, GError **error)
{
    const OneDnnPortUse uses[ONEDNN_N_PORTS] = {
        [ONEDNN_A] = { &rnn->x, DNNL_ARG_SRC_LAYER },
        [ONEDNN_B] = { &rnn->w_x, DNNL_ARG_WEIGHTS_LAYER, TRUE },
        [ONEDNN_BIAS] = { &rnn->bias, DNNL_ARG_BIAS },
        [ONEDNN_OUT] = { &rnn->y, DNNL_ARG_DST_LAYER, FALSE, TRUE },
        [ONEDNN_H] = { &rnn->h, DNNL_ARG_SRC_ITER },
        [ONEDNN_C] = { &rnn->c, DNNL_ARG_SRC_ITER_C },
        [ONEDNN_W_H] = { &rnn->w_h, DNNL_ARG_WEIGHTS_ITER, TRUE },
    };
    onednn_enter_thread();
    return onednn_call_new(rnn_desc(rnn), uses, error);
}
