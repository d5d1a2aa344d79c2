/* The way forward: the scratch, layer after layer, softmax. */
#include "internal.h"

static uint32_t even(uint32_t n) {
    return (n + 1u) & ~1u;
}

typedef struct {
    uint32_t outputs; /* floats: all layers' outputs */
    uint32_t widest;  /* units of the widest layer */
    uint32_t inputs;  /* inputs of the layer that has most */
} work_size;

static work_size measure(const tinc_net *net) {
    work_size size = {0, 0, 0};
    for (uint32_t l = 0; l < net->layer_count; l++) {
        const uint32_t units = net->layers[l].output_shape[0];
        const uint32_t inputs = net->layers[l].input_shape[0];
        size.outputs += units;
        size.widest = units > size.widest ? units : size.widest;
        size.inputs = inputs > size.inputs ? inputs : size.inputs;
    }
    size.outputs = even(size.outputs);
    return size;
}

static size_t bytes_of(work_size size) {
    const size_t floats = (size_t)size.outputs + 2u * (size_t)even(size.widest);
    const size_t indices = (size_t)size.inputs + size.widest;
    return (8u + 4u * floats + 2u * indices + 7u) & ~(size_t)7u;
}

size_t tinc_scratch_bytes(const tinc_net *net) {
    return bytes_of(measure(net));
}

int tinc_begin(tinc_net *net, void *scratch, size_t bytes, tinc_work *work) {
    const work_size size = measure(net);
    const size_t needed = bytes_of(size);
    if (bytes < needed) {
        return tinc_fail(net, TINC_E_SCRATCH, 0, (uint32_t)bytes, (uint32_t)needed);
    }
    if ((uintptr_t)scratch % 8u != 0) {
        return tinc_fail(net, TINC_E_ALIGNMENT, TINC_SECTIONS, 0, 0);
    }
    work->busy = scratch;
    if (*work->busy != 0) {
        return tinc_fail(net, TINC_E_BUSY, 0, 0, 0);
    }
    *work->busy = 1;
    work->outputs = (float *)scratch + 2;
    work->delta = work->outputs + size.outputs;
    work->delta_below = work->delta + even(size.widest);
    work->inputs = (uint16_t *)(void *)(work->delta_below + even(size.widest));
    work->rows = work->inputs + size.inputs;
    return TINC_OK;
}

#define LARGEST_VALUE 1e30f

/* One layer on its input, before its activation; returns the multiply-accumulates done. */
static uint32_t run_layer(const tinc_net *net, uint32_t l, const float *x, float *out,
                          uint16_t *list) {
    const tinc_layer *layer = &net->layers[l];
    const float *w = tinc_weights(net, layer), *bias = tinc_bias(net, layer);
    const uint32_t inputs = tinc_layer_inputs(net, l), stride = layer->input_shape[0];
    uint32_t used = tinc_count_inputs(x, inputs, 0.0f);
    if (2u * used <= inputs) { /* zeros cost nothing; below half of them, looking up costs more */
        tinc_list_inputs(x, inputs, 0.0f, list);
        tinc_dense_listed(out, w, bias, x, layer->active, list, used, stride);
    } else {
        used = inputs;
        tinc_dense(out, w, bias, x, layer->active, inputs, stride);
    }
    return layer->active * used;
}

static void relu(float *values, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        values[i] = values[i] > 0.0f ? values[i] : 0.0f;
    }
}

float *tinc_forward(tinc_net *net, const float *x, const tinc_work *work, uint32_t *macs) {
    float *out = work->outputs;
    const float *in = x;
    if (tinc_check_sample(net, x, LARGEST_VALUE)) {
        return NULL;
    }
    for (uint32_t l = 0;; l++) {
        const tinc_layer *layer = &net->layers[l];
        *macs += run_layer(net, l, in, out, work->inputs);
        if (!(tinc_largest(out, layer->active) <= LARGEST_VALUE)) { /* or NaN */
            tinc_fail(net, TINC_E_DIVERGED, l, 0, 0);
            return NULL;
        }
        if (l + 1 == net->layer_count) {
            return out;
        }
        relu(out, layer->active);
        in = out;
        out += layer->output_shape[0];
    }
}

uint32_t tinc_argmax(const float *values, uint32_t n) {
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++) {
        best = values[i] > values[best] ? i : best;
    }
    return best;
}

float tinc_softmax(float *logits, uint32_t n) {
    const float largest = logits[tinc_argmax(logits, n)];
    float sum = 0.0f;
    for (uint32_t i = 0; i < n; i++) {
        logits[i] = tinc_exp(logits[i] - largest);
        sum += logits[i];
    }
    const float inverse = 1.0f / sum;
    for (uint32_t i = 0; i < n; i++) {
        logits[i] *= inverse;
    }
    return tinc_log(sum);
}

int tinc_infer(tinc_net *net, const float *x, float *probabilities, void *scratch,
               size_t scratch_bytes) {
    const uint32_t classes = tinc_classes(net);
    if (classes == 0) {
        return tinc_fail(net, TINC_E_CLASS, 0, 0, 0);
    }
    tinc_work work;
    const int error = tinc_begin(net, scratch, scratch_bytes, &work);
    if (error) {
        return error;
    }
    uint32_t macs = 0;
    const float *logits = tinc_forward(net, x, &work, &macs);
    *work.busy = 0;
    if (logits == NULL) {
        return net->fault.code;
    }
    for (uint32_t i = 0; i < classes; i++) {
        probabilities[i] = logits[i];
    }
    const uint32_t predicted = tinc_argmax(probabilities, classes);
    tinc_softmax(probabilities, classes);
    return (int)predicted;
}
