/* The layers in float32: which kind does what, dense ones, activations and the loss. */
#include "f32.h"

#if TINYINC_F32

#define LARGEST_VALUE 1e30f
#define LARGEST_DELTA 100.0f

/* ---- forward ---- */

/* All inputs, or those that are not 0 where they are few: zeros cost nothing, and above half of
 * them looking up costs more than it saves. */
static void dense(tinc_work *work, uint32_t l, const float *in, float *out) {
    const tinc_layer *layer = &work->net->layers[l];
    const float *w = tinc_weights(work->net, layer), *bias = tinc_bias(work->net, layer);
    const uint32_t inputs = tinc_layer_inputs(work->net, l), stride = layer->input_shape[0];
    uint16_t *list = tinc_place(work, l, TINC_FORWARD);
    uint32_t used = tinc_count_inputs(in, inputs, 0.0f);
    if (2u * used <= inputs) {
        tinc_list_inputs(in, inputs, 0.0f, list);
        tinc_dense_listed(out, w, bias, in, layer->active, list, used, stride);
    } else {
        used = inputs;
        tinc_dense(out, w, bias, in, layer->active, inputs, stride);
    }
    work->forward += layer->active * used;
}

/* The sign bit of what these return says whether a value was NaN or beyond 1e30. Floats of one sign
 * order as their bits do, and integers take fewer instructions. */

static inline uint32_t relu(float *value) {
    const uint32_t bits = tinc_float_bits(*value);
    *value = tinc_bits_float((int32_t)bits < 0 ? 0 : bits);
    return tinc_float_bits(LARGEST_VALUE) - (bits & 0x7FFFFFFFu);
}

static inline uint32_t relu6(float *value) {
    const uint32_t beyond = relu(value), six = tinc_float_bits(6.0f);
    const uint32_t bits = tinc_float_bits(*value);
    *value = tinc_bits_float(bits < six ? bits : six);
    return beyond;
}

/* Apply an activation in place. Returns whether a value was NaN or beyond 1e30. */
static int activate(float *values, uint32_t n, int activation) {
    const float *const end = values + n;
    uint32_t beyond = 0;
    if (activation == TINC_LINEAR) {
        return tinc_any_beyond(values, n, LARGEST_VALUE);
    }
    if (activation == TINC_RELU6) {
        while (values < end) {
            beyond |= relu6(values++);
        }
    }
    for (; end - values >= 4; values += 4) {
        beyond |= relu(values) | relu(values + 1) | relu(values + 2) | relu(values + 3);
    }
    while (values < end) {
        beyond |= relu(values++);
    }
    return beyond >> 31 != 0;
}

void tinc_f32_run(tinc_work *work, uint32_t l, const void *in, void *out, const tinc_rows *rows) {
    const tinc_layer *layer = &work->net->layers[l];
    uint32_t n = (rows->to - rows->from) * layer->output_shape[1] * layer->output_shape[2];
    if (layer->kind == TINC_DENSE) {
        n = layer->active;
        dense(work, l, in, out);
    } else if (layer->kind == TINC_CONV) {
        tinc_f32_conv(work, l, in, out, rows);
    } else if (layer->kind == TINC_DEPTHWISE) {
        tinc_f32_depthwise(work, l, in, out, rows);
    } else if (layer->kind == TINC_MAX_POOL) {
        tinc_f32_max_pool(work, l, in, out, rows);
        return; /* nothing is larger than what came in */
    } else if (layer->kind == TINC_AVERAGE_POOL) {
        tinc_f32_average_pool(work, l, in, out, rows);
        return;
    } else {
        tinc_f32_add(work, l, in, out);
    }
    if (activate(out, n, layer->activation) && work->net->fault.code == TINC_OK) {
        tinc_fail(work->net, TINC_E_DIVERGED, l, 0, 0);
    }
}

/* Bit i: is value i above 0? No value is negative, so that differences of bits have the sign of
 * those of the values. */
static inline uint32_t above(const float *value, unsigned i) {
    return (0u - tinc_float_bits(value[i])) >> 31 << i;
}

void tinc_f32_mask(const tinc_work *work, uint32_t l, const void *values, uint8_t *mask) {
    const tinc_layer *layer = &work->net->layers[l];
    const uint32_t n = tinc_layer_outputs(layer);
    const float *value = values;
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8, value += 8) {
        mask[i / 8u] =
            (uint8_t)(above(value, 0) | above(value, 1) | above(value, 2) | above(value, 3) |
                      above(value, 4) | above(value, 5) | above(value, 6) | above(value, 7));
    }
    if (i < n) {
        mask[i / 8u] = 0;
    }
    for (uint32_t bit = 0; i + bit < n; bit++) {
        mask[i / 8u] |= (uint8_t)above(value, bit);
    }
    value = values;
    for (i = 0; layer->activation == TINC_RELU6 && i < n; i++) {
        if (tinc_float_bits(value[i]) == tinc_float_bits(6.0f)) {
            mask[i / 8u] &= (uint8_t)~(1u << i % 8u);
        }
    }
}

/* ---- the loss ---- */

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

uint32_t tinc_f32_probabilities(const void *logits, uint32_t n, float *probabilities) {
    const float *logit = logits;
    for (uint32_t i = 0; i < n; i++) {
        probabilities[i] = logit[i];
    }
    const uint32_t predicted = tinc_argmax(probabilities, n);
    tinc_softmax(probabilities, n);
    return predicted;
}

int tinc_f32_loss(tinc_work *work, const void *logits, uint32_t target, int lesson,
                  float *figures) {
    const uint32_t classes = tinc_classes(work->net), last = work->net->layer_count - 1u;
    const float *logit = logits;
    float *delta = tinc_place(work, last, TINC_DELTA);
    for (uint32_t i = 0; i < classes; i++) {
        delta[i] = logit[i];
    }
    const float largest = logit[tinc_argmax(logit, classes)];
    figures[TINC_STEP_LOSS] = tinc_softmax(delta, classes) - (logit[target] - largest);
    const float smoothing = lesson ? 0.0f : work->net->state->label_smoothing;
    delta[target] -= 1.0f - smoothing; /* softmax and cross-entropy together: p - onehot */
    for (uint32_t i = 0; i < classes && !lesson; i++) {
        delta[i] -= smoothing / (float)classes;
    }
    figures[TINC_STEP_ERROR] = tinc_f32_error(delta, classes);

    const float factor =
        tinc_f32_admit(work->net, figures[TINC_STEP_ERROR], &figures[TINC_STEP_PROBABILITY]);
    for (uint32_t i = 0; i < classes; i++) {
        delta[i] *= factor;
    }
    return factor > 0.0f;
}

/* ---- backward ---- */

/* A hidden gradient far beyond any sane one, or NaN, is cut, so that no update can be infinite.
 * That of the output is what the loss gave, and layers without weights pass on what they get. */
void tinc_f32_settle(tinc_work *work, uint32_t l) {
    const tinc_layer *layer = &work->net->layers[l];
    const uint32_t n = tinc_layer_outputs(layer);
    float *delta = tinc_place(work, l, TINC_DELTA);
    if (l + 1 == work->net->layer_count || !tinc_has_weights(layer) ||
        !tinc_any_beyond(delta, n, LARGEST_DELTA)) {
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        delta[i] = tinc_clip(delta[i], -LARGEST_DELTA, LARGEST_DELTA);
    }
}

/* Which inputs can have a gradient that is not cut: those whose bit is set. */
static uint32_t list_mask(const uint8_t *mask, uint32_t n, uint16_t *list) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < n; i++) {
        list[count] = (uint16_t)i;
        count += (uint32_t)mask[i / 8u] >> (i % 8u) & 1u;
    }
    return count;
}

/* W^T delta over the listed rows, for the inputs that have a gradient. */
static void dense_propagate(tinc_work *work, uint32_t l, const uint16_t *rows, uint32_t listed) {
    const tinc_layer *layer = &work->net->layers[l];
    const float *w = tinc_weights(work->net, layer), *delta = tinc_place(work, l, TINC_DELTA);
    const uint32_t inputs = tinc_layer_inputs(work->net, l), stride = layer->input_shape[0];
    float *below = tinc_place(work, l - 1, TINC_DELTA);
    const uint8_t *mask = tinc_place(work, l - 1, TINC_MASK);
    uint16_t *list = tinc_backward_room(work, l);
    const uint32_t live = mask != NULL ? list_mask(mask, inputs, list) : inputs;
    const int few = mask != NULL && 2u * live <= inputs;
    for (uint32_t r = 0; r < listed; r++) {
        const float *weights = w + (size_t)rows[r] * stride;
        if (few) {
            tinc_axpy_listed(below, delta[rows[r]], weights, list, live);
        } else {
            tinc_axpy(below, delta[rows[r]], weights, inputs);
        }
    }
    work->backward += listed * (few ? live : inputs);
}

void tinc_f32_propagate(tinc_work *work, uint32_t l, const uint16_t *list, uint32_t listed) {
    const int kind = work->net->layers[l].kind;
    if (kind == TINC_DENSE) {
        dense_propagate(work, l, list, listed);
    } else if (kind == TINC_CONV) {
        tinc_f32_conv_propagate(work, l, list, listed);
    } else if (kind == TINC_DEPTHWISE) {
        tinc_f32_depthwise_propagate(work, l, list, listed);
    } else if (kind == TINC_MAX_POOL) {
        tinc_f32_max_pool_propagate(work, l);
    } else if (kind == TINC_AVERAGE_POOL) {
        tinc_f32_average_pool_propagate(work, l);
    } else {
        tinc_f32_add_propagate(work, l);
    }
}

float tinc_f32_least_input(const tinc_work *work, uint32_t l, const float *input) {
    const tinc_state *state = work->net->state;
    if (state->rule != TINC_RULE_SAMPLED) {
        return 0.0f;
    }
    return state->input_threshold * tinc_largest(input, tinc_layer_inputs(work->net, l));
}

const void *tinc_f32_kept_input(const tinc_work *work, uint32_t l) {
    if (l > work->from) {
        const tinc_tensor *values = tinc_tensor_of(work, l - 1, TINC_VALUES);
        const int overwritten = values->offset == tinc_tensor_of(work, l, TINC_VALUES)->offset;
        if (overwritten || values->last < tinc_backward_moment(work->net, l)) {
            return NULL;
        }
    }
    return tinc_input(work, l);
}

/* W -= rate delta x^T on the listed rows and the inputs that count. */
static void dense_update(tinc_work *work, uint32_t l, const uint16_t *rows, uint32_t listed) {
    const tinc_layer *layer = &work->net->layers[l];
    const tinc_state *state = work->net->state;
    const float *input = tinc_f32_kept_input(work, l), *delta = tinc_place(work, l, TINC_DELTA);
    float *w = tinc_weights(work->net, layer);
    const uint32_t stride = layer->input_shape[0], trained = tinc_trained_channels(layer, stride);
    uint32_t inputs = tinc_layer_inputs(work->net, l);
    const float least = tinc_f32_least_input(work, l, input);
    inputs = inputs < trained ? inputs : trained;
    uint16_t *list = tinc_backward_room(work, l);
    uint32_t used = tinc_count_inputs(input, inputs, least);
    const int few = state->rule == TINC_RULE_SAMPLED || 2u * used <= inputs;
    if (few) {
        tinc_list_inputs(input, inputs, least, list);
    } else {
        used = inputs;
    }
    if (!few) {
        tinc_axpy_units(w, stride, -state->learning_rate, delta, rows, listed, 0, input, inputs);
    }
    for (uint32_t r = 0; few && r < listed; r++) {
        float *weights = w + (size_t)rows[r] * stride;
        tinc_axpy_listed(weights, -state->learning_rate * delta[rows[r]], input, list, used);
    }
    work->backward += listed * used;
}

void tinc_f32_update(tinc_work *work, uint32_t l, const uint16_t *list, uint32_t listed) {
    const tinc_layer *layer = &work->net->layers[l];
    if (layer->kind == TINC_DENSE) {
        if (layer->flags & TINC_TRAIN_BIAS) {
            tinc_axpy_listed(tinc_bias(work->net, layer), -work->net->state->learning_rate,
                             tinc_place(work, l, TINC_DELTA), list, listed);
        }
        if (layer->flags & TINC_TRAIN_WEIGHTS) {
            dense_update(work, l, list, listed);
        }
    } else if (layer->kind == TINC_CONV) {
        tinc_f32_conv_update(work, l, list, listed);
    } else {
        tinc_f32_depthwise_update(work, l, list, listed);
    }
}

/* ---- room ---- */

/* A list of inputs, and for a convolution the patch it is about. */
static uint32_t room(const tinc_layer *layer) {
    const uint32_t inputs = tinc_row_weights(layer);
    return layer->kind == TINC_DENSE ? 2u * inputs : layer->kind == TINC_CONV ? 6u * inputs : 0;
}

uint32_t tinc_f32_forward_room(const tinc_net *net, uint32_t l) {
    return room(&net->layers[l]);
}

uint32_t tinc_f32_backward_room(const tinc_net *net, uint32_t l) {
    return room(&net->layers[l]);
}

#endif
