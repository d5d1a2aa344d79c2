/* The way forward, layer after layer; an early stage strip by strip where the image asks for it. */
#include "internal.h"

#define LARGEST_VALUE 1e30f

/* Refuse what a sample cannot hold: in f32 values so large that an update could become infinite. */
static int check_input(tinc_net *net, const void *x, uint32_t n) {
#if TINYINC_F32
    if (!tinc_is_q8(net)) {
        return tinc_check_sample(net, x, n, LARGEST_VALUE);
    }
#endif
    const int8_t *values = x;
    uint32_t i = 0;
    while (i < n && values[i] != -128) {
        i++;
    }
    return i == n ? TINC_OK : tinc_fail(net, TINC_E_SAMPLE_VALUE, i, 0, 0);
}

/* A layer's rows decide on those before them: what it needs of the layer before. */
static void ask_below(const tinc_layer *layer, tinc_rows *rows) {
    tinc_rows *below = rows - 1;
    const uint32_t top = layer->padding[0], height = layer->input_shape[0];
    const uint32_t from = rows->from * layer->stride[0];
    const uint32_t to = (rows->to - 1u) * layer->stride[0] + layer->kernel[0];
    below->from = rows->input_from = from > top ? from - top : 0;
    below->to = to <= top ? 0 : to - top < height ? to - top : height;
}

/* Bytes of a row of a layer's output. */
static uint32_t row_bytes(const tinc_net *net, const tinc_layer *layer) {
    return layer->output_shape[1] * layer->output_shape[2] * (tinc_is_q8(net) ? 1u : 4u);
}

/* Run a layer; its output starts `behind` the start of its place. */
static const void *run_layer(tinc_work *work, uint32_t l, uint32_t behind, const tinc_rows *rows) {
    uint8_t *out = (uint8_t *)tinc_place(work, l, TINC_VALUES) + behind;
    TINC_CALL(work->net, run(work, l, tinc_input(work, l), out, rows));
    return out;
}

/* One strip of the stage's output: what it needs of each layer, from the last down, then up. */
static void run_strip(tinc_work *work, uint32_t from, uint32_t to) {
    const tinc_net *net = work->net;
    const uint32_t stage = net->header->stage_layers;
    tinc_rows rows[TINC_MAX_LAYERS];
    rows[stage - 1u].from = from;
    rows[stage - 1u].to = to;
    for (uint32_t l = stage - 1u; l > 0; l--) {
        ask_below(&net->layers[l], &rows[l]);
    }
    rows[0].input_from = 0;
    for (uint32_t l = 0; l < stage; l++) {
        const int last = l + 1 == stage;
        run_layer(work, l, last ? from * row_bytes(net, &net->layers[l]) : 0, &rows[l]);
    }
}

static void run_stage(tinc_work *work, uint32_t stage) {
    const uint32_t height = work->net->layers[stage - 1u].output_shape[0];
    const uint32_t strip = work->net->header->stage_rows;
    for (uint32_t from = 0; from < height; from += strip) {
        run_strip(work, from, strip < height - from ? from + strip : height);
    }
}

static const void *run_layers(tinc_work *work) {
    tinc_net *net = work->net;
    const uint32_t stage = net->header->stage_layers;
    uint32_t l = work->from;
    if (check_input(net, work->x, tinc_layer_inputs(net, l))) {
        return NULL;
    }
    if (l < stage && stage <= work->to) {
        run_stage(work, stage);
        l = stage;
    }
    for (; l < work->to && net->fault.code == TINC_OK; l++) {
        const tinc_layer *layer = &net->layers[l];
        const tinc_rows all = {0, layer->kind == TINC_DENSE ? 1u : layer->output_shape[0], 0};
        const void *out = run_layer(work, l, 0, &all);
        uint8_t *mask = tinc_place(work, l, TINC_MASK);
        if (mask != NULL) {
            TINC_CALL(net, mask(work, l, out, mask));
        }
    }
    return net->fault.code == TINC_OK ? tinc_input(work, work->to) : NULL;
}

const void *tinc_forward(tinc_net *net, const void *x, int kind, void *scratch, size_t bytes,
                         tinc_work *work) {
    if (tinc_begin(net, x, kind, scratch, bytes, work)) {
        return NULL;
    }
    const void *values = run_layers(work);
    if (values == NULL) {
        *work->busy = 0;
    }
    return values;
}

int tinc_extract(tinc_net *net, const void *x, void *features, uint32_t *macs, void *scratch,
                 size_t scratch_bytes) {
    tinc_work work;
    const void *values = tinc_forward(net, x, TINC_EXTRACT, scratch, scratch_bytes, &work);
    if (values == NULL) {
        return net->fault.code;
    }
    tinc_copy(features, values, (uint32_t)tinc_feature_bytes(net));
    *macs = work.forward;
    *work.busy = 0;
    return TINC_OK;
}

int tinc_infer(tinc_net *net, const void *x, float *probabilities, void *scratch,
               size_t scratch_bytes) {
    const uint32_t classes = tinc_classes(net);
    if (classes == 0) {
        return tinc_fail(net, TINC_E_CLASS, 0, 0, 0);
    }
    tinc_work work;
    const void *logits = tinc_forward(net, x, TINC_INFER, scratch, scratch_bytes, &work);
    if (logits == NULL) {
        return net->fault.code;
    }
    const uint32_t likeliest = TINC_CALL(net, probabilities(logits, classes, probabilities));
    *work.busy = 0;
    return (int)likeliest;
}
