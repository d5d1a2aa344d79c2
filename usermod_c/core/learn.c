/* One learning step: forward, loss, and as much of the backward pass as the rule asks for. */
#include "internal.h"

#define LARGEST_DELTA 1000.0f

/* A hidden gradient far beyond any sane one, or NaN, is cut, so that no update can be infinite. */
static float bounded(float delta) {
    return delta > -LARGEST_DELTA ? (delta < LARGEST_DELTA ? delta : LARGEST_DELTA)
                                  : -LARGEST_DELTA;
}

/* Gradient below a layer: delta_below = W^T delta over the chosen rows, through the ReLU that made
 * the layer's inputs. Returns the multiply-accumulates done. */
static uint32_t propagate(const tinc_net *net, uint32_t l, const float *input,
                          const tinc_work *work, uint32_t rows) {
    const tinc_layer *layer = &net->layers[l];
    const float *w = tinc_weights(net, layer);
    const uint32_t inputs = tinc_layer_inputs(net, l), stride = layer->input_shape[0];
    uint32_t live = tinc_count_inputs(input, inputs, 0.0f);
    const int listed = 2u * live <= inputs;
    if (listed) {
        tinc_list_inputs(input, inputs, 0.0f, work->inputs);
    } else {
        live = inputs;
    }
    for (uint32_t i = 0; i < inputs; i++) {
        work->delta_below[i] = 0.0f;
    }
    for (uint32_t r = 0; r < rows; r++) {
        const uint32_t row = work->rows[r];
        const float *weights = w + (size_t)row * stride;
        if (listed) {
            tinc_axpy_listed(work->delta_below, work->delta[row], weights, work->inputs, live);
        } else {
            tinc_axpy(work->delta_below, work->delta[row], weights, inputs);
        }
    }
    for (uint32_t i = 0; i < inputs; i++) {
        work->delta_below[i] = input[i] > 0.0f ? bounded(work->delta_below[i]) : 0.0f;
    }
    return rows * live;
}

/* W -= rate delta x^T and b -= rate delta, on the chosen rows and the inputs that count. Returns
 * the multiply-accumulates done. */
static uint32_t update(const tinc_net *net, uint32_t l, const float *input, const tinc_work *work,
                       uint32_t rows) {
    const tinc_layer *layer = &net->layers[l];
    const tinc_state *state = net->state;
    const uint32_t inputs = tinc_layer_inputs(net, l);
    if (layer->flags & TINC_TRAIN_BIAS) {
        float *bias = tinc_bias(net, layer);
        for (uint32_t r = 0; r < rows; r++) {
            bias[work->rows[r]] -= state->learning_rate * work->delta[work->rows[r]];
        }
    }
    if (!(layer->flags & TINC_TRAIN_WEIGHTS)) {
        return 0;
    }
    float *w = tinc_weights(net, layer);
    const int sampled = state->rule == TINC_RULE_SAMPLED;
    const float least = sampled ? state->input_threshold * tinc_largest(input, inputs) : 0.0f;
    uint32_t used = tinc_count_inputs(input, inputs, least);
    const int listed = sampled || 2u * used <= inputs;
    if (listed) {
        tinc_list_inputs(input, inputs, least, work->inputs);
    } else {
        used = inputs;
    }
    for (uint32_t r = 0; r < rows; r++) {
        const uint32_t row = work->rows[r];
        const float step = -state->learning_rate * work->delta[row];
        float *weights = w + (size_t)row * layer->input_shape[0];
        if (listed) {
            tinc_axpy_listed(weights, step, input, work->inputs, used);
        } else {
            tinc_axpy(weights, step, input, inputs);
        }
    }
    return rows * used;
}

static float local_error(const float *delta, uint32_t n) {
    float sum = 0.0f;
    for (uint32_t i = 0; i < n; i++) {
        sum += delta[i] < 0.0f ? -delta[i] : delta[i];
    }
    return sum;
}

static uint32_t first_trained(const tinc_net *net) {
    uint32_t l = 0;
    while (l < net->layer_count && net->layers[l].flags == 0) {
        l++;
    }
    return l;
}

/* From the output's gradient in work->delta down to the first trained layer. */
static void backward(tinc_net *net, const float *x, tinc_work *work, uint32_t *counts) {
    const uint32_t first = first_trained(net);
    const float *output = work->outputs;
    for (uint32_t l = 0; l < net->layer_count; l++) {
        output += net->layers[l].output_shape[0];
    }
    uint32_t depth = 0;
    for (uint32_t l = net->layer_count; l-- > first;) {
        const tinc_layer *layer = &net->layers[l];
        output -= layer->output_shape[0];
        const float *input = l == 0 ? x : output - layer->input_shape[0];
        uint32_t k = layer->active;
        if (layer->flags != 0) {
            k = tinc_rule_k(net, l, depth++, local_error(work->delta, k));
            counts[TINC_STEP_K + l] = k;
        }
        const uint32_t rows = (uint32_t)tinc_topk(work->delta, layer->active, k, work->rows);
        if (l > first) {
            counts[TINC_STEP_BACKWARD] += propagate(net, l, input, work, rows);
        }
        counts[TINC_STEP_BACKWARD] += update(net, l, input, work, rows);
        float *below = work->delta_below;
        work->delta_below = work->delta;
        work->delta = below;
    }
}

int tinc_learn(tinc_net *net, const float *x, uint32_t target, uint32_t *counts, float *figures,
               void *scratch, size_t scratch_bytes) {
    const uint32_t classes = tinc_classes(net);
    if (target >= classes) {
        return tinc_fail(net, TINC_E_CLASS, 0, target, classes);
    }
    tinc_work work;
    const int error = tinc_begin(net, scratch, scratch_bytes, &work);
    if (error) {
        return error;
    }
    uint32_t forward_macs = 0;
    const float *logits = tinc_forward(net, x, &work, &forward_macs);
    if (logits == NULL) {
        *work.busy = 0;
        return net->fault.code;
    }
    for (uint32_t l = 0; l < TINC_STEP_K + net->layer_count; l++) {
        counts[l] = 0;
    }
    counts[TINC_STEP_FORWARD] = forward_macs;
    counts[TINC_STEP_PREDICTED] = tinc_argmax(logits, classes);
    for (uint32_t i = 0; i < classes; i++) {
        work.delta[i] = logits[i];
    }
    const float largest = logits[counts[TINC_STEP_PREDICTED]];
    figures[TINC_STEP_LOSS] = tinc_softmax(work.delta, classes) - (logits[target] - largest);
    work.delta[target] -= 1.0f; /* softmax and cross-entropy together: p - onehot */
    figures[TINC_STEP_ERROR] = local_error(work.delta, classes);

    const float factor =
        tinc_rule_admit(net, figures[TINC_STEP_ERROR], &figures[TINC_STEP_PROBABILITY]);
    if (factor > 0.0f) {
        for (uint32_t i = 0; i < classes; i++) {
            work.delta[i] *= factor;
        }
        backward(net, x, &work, counts);
        net->state->trained = tinc_count_up(net->state->trained);
    }
    counts[TINC_STEP_SKIPPED] = factor == 0.0f;
    net->state->lessons = tinc_count_up(net->state->lessons);
    tinc_class_state *seen = &tinc_class_states(net)[target];
    seen->seen = tinc_count_up(seen->seen);
    *work.busy = 0;
    return TINC_OK;
}
