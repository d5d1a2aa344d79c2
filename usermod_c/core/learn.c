/* One learning step: forward, loss, and as much of the backward pass as the rule asks for. */
#include "internal.h"

/* The gradient at a layer's outputs, all zero before anything is added to it. */
static void prepare(const tinc_work *work, uint32_t l) {
    tinc_word *delta = tinc_place(work, l, TINC_DELTA);
    if (delta == NULL || tinc_tensor_of(work, l, TINC_DELTA)->live) {
        return;
    }
    for (uint32_t i = tinc_layer_outputs(&work->net->layers[l]); i-- > 0;) {
        delta[i] = 0;
    }
}

/* Nothing flows back through what the activation cut. A word of 0 is 0 in either format. */
static void gate(const tinc_work *work, uint32_t l) {
    const uint8_t *mask = tinc_place(work, l, TINC_MASK);
    tinc_word *delta = tinc_place(work, l, TINC_DELTA);
    const uint32_t n = tinc_layer_outputs(&work->net->layers[l]);
    for (uint32_t i = 0; mask != NULL && i < n; i += 8) {
        uint32_t cut = ~(uint32_t)mask[i / 8u] & 0xFFu;
        for (tinc_word *at = delta + i; cut != 0 && at < delta + n; at++, cut >>= 1) {
            if (cut & 1u) {
                *at = 0;
            }
        }
    }
}

/* The gradient at the inputs of a layer becomes that at the outputs of the layer before, and of the
 * source of an addition. */
static void propagate(tinc_work *work, uint32_t l, const uint16_t *list, uint32_t listed) {
    const tinc_net *net = work->net;
    prepare(work, l - 1u);
    if (net->layers[l].kind == TINC_ADD) {
        prepare(work, net->layers[l].source);
    }
    TINC_CALL(net, propagate(work, l, list, listed));
    tinc_tensor_of(work, l - 1u, TINC_DELTA)->live = 1;
    if (net->layers[l].kind == TINC_ADD) {
        tinc_tensor_of(work, net->layers[l].source, TINC_DELTA)->live = 1;
    }
    gate(work, l - 1u);
}

/* The largest k elements of the gradient, listed at the start of the layer's room. */
static uint32_t select(const tinc_work *work, uint32_t l, uint32_t k) {
    const uint32_t n = tinc_layer_outputs(&work->net->layers[l]);
    const uint32_t most = tinc_most_listed(work->net, l);
    const void *delta = tinc_place(work, l, TINC_DELTA);
    uint16_t *list = tinc_place(work, l, TINC_BACKWARD);
    k = k < most ? k : most;
    return (uint32_t)tinc_select(delta, n, k, list, tinc_is_q8(work->net));
}

/* From the output's gradient down to the first trained layer. */
static void backward(tinc_work *work, uint32_t *counts) {
    const tinc_net *net = work->net;
    uint32_t depth = 0;
    for (uint32_t l = net->layer_count; l-- > work->first;) {
        const tinc_layer *layer = &net->layers[l];
        const uint16_t *list = tinc_place(work, l, TINC_BACKWARD);
        uint32_t listed = 0;
        TINC_CALL(net, settle(work, l));
        if (tinc_has_weights(layer)) {
            uint32_t k = tinc_layer_outputs(layer);
            if (layer->flags != 0) {
                k = TINC_CALL(net, k(work, l, depth++));
                counts[TINC_STEP_K + l] = k;
            }
            listed = select(work, l, k);
        }
        if (l > work->first) {
            propagate(work, l, list, listed);
        }
        if (layer->flags != 0) {
            TINC_CALL(net, update(work, l, list, listed));
        }
    }
}

static void learn(tinc_work *work, const void *logits, uint32_t target, uint32_t *counts,
                  float *figures) {
    tinc_state *state = work->net->state;
    for (uint32_t i = 0; i < TINC_STEP_K + work->net->layer_count; i++) {
        counts[i] = 0;
    }
    const int trained = TINC_CALL(work->net, loss(work, logits, target, counts, figures));
    if (trained) {
        backward(work, counts);
        state->trained = tinc_count_up(state->trained);
    }
    counts[TINC_STEP_SKIPPED] = !trained;
    counts[TINC_STEP_FORWARD] = work->forward;
    counts[TINC_STEP_BACKWARD] = work->backward;
    state->lessons = tinc_count_up(state->lessons);
    tinc_class_state *seen = &tinc_class_states(work->net)[target];
    seen->seen = tinc_count_up(seen->seen);
}

int tinc_learn(tinc_net *net, const void *x, uint32_t target, uint32_t *counts, float *figures,
               void *scratch, size_t scratch_bytes) {
    const uint32_t classes = tinc_classes(net);
    if (target >= classes) {
        return tinc_fail(net, TINC_E_CLASS, 0, target, classes);
    }
    tinc_work work;
    const int error = tinc_begin(net, x, TINC_LEARN, scratch, scratch_bytes, &work);
    if (error) {
        return error;
    }
    const void *logits = tinc_forward(&work);
    if (logits != NULL) {
        learn(&work, logits, target, counts, figures);
    }
    *work.busy = 0;
    return logits == NULL ? net->fault.code : TINC_OK;
}
