/* One learning step: forward, loss, and as much of the backward pass as the rule asks for. */
#include "fixed.h"

#define LOGIT_POINT 10 /* bits behind the point of a logit in q8 */

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

/* What the network says of the sample before it learns it. */
static uint32_t predicted(const tinc_net *net, const void *logits) {
#if TINYINC_F32
    if (!tinc_is_q8(net)) {
        return tinc_argmax(logits, tinc_classes(net));
    }
#endif
    return tinc_q8_argmax(logits, tinc_classes(net));
}

/* Lower the logits of classes that the stream has not had lately. */
static void adjust_logits(const tinc_net *net, tinc_word *logits, uint32_t target) {
    const tinc_state *state = net->state;
    const tinc_class_state *taught = tinc_class_states(net);
    const uint32_t by = tinc_bits_fixed(tinc_float_bits(state->logit_adjustment), LOGIT_POINT);
    const uint32_t classes = tinc_classes(net);
    for (uint32_t cls = 0; cls < classes; cls++) {
        const uint32_t last = taught[cls].last;
        if (cls == target || (last > 0 && state->lessons - last < TINC_RECENT)) {
            continue;
        }
#if TINYINC_F32
        if (!tinc_is_q8(net)) {
            logits[cls] = tinc_float_bits(tinc_bits_float(logits[cls]) - state->logit_adjustment);
            continue;
        }
#endif
        logits[cls] -= by;
    }
}

/* A lesson has a place in the stream. */
static void count_lesson(tinc_net *net, uint32_t target, int trained) {
    tinc_state *state = net->state;
    state->lessons = tinc_count_up(state->lessons);
    state->trained = trained ? tinc_count_up(state->trained) : state->trained;
    tinc_class_states(net)[target].last = state->lessons;
}

/* One step. A lesson, or of the memory? */
static int step(tinc_net *net, const void *x, uint32_t target, int lesson, uint32_t *counts,
                float *figures, void *scratch, size_t scratch_bytes) {
    tinc_work work;
    const void *logits = tinc_forward(net, x, TINC_LEARN, scratch, scratch_bytes, &work);
    if (logits == NULL) {
        return net->fault.code;
    }
    for (uint32_t i = 0; i < TINC_STEP_K + net->layer_count; i++) {
        counts[i] = 0;
    }
    counts[TINC_STEP_PREDICTED] = predicted(net, logits);
    if (lesson) {
        adjust_logits(net, tinc_place(&work, net->layer_count - 1u, TINC_VALUES), target);
    }
    const int trained = TINC_CALL(net, loss(&work, logits, target, lesson, figures));
    if (trained) {
        backward(&work, counts);
    }
    if (lesson) {
        count_lesson(net, target, trained);
    }
    counts[TINC_STEP_SKIPPED] = !trained;
    counts[TINC_STEP_FORWARD] = work.forward;
    counts[TINC_STEP_BACKWARD] = work.backward;
    *work.busy = 0;
    return TINC_OK;
}

int tinc_learn(tinc_net *net, const void *x, uint32_t target, uint32_t *counts, float *figures,
               void *scratch, size_t scratch_bytes) {
    const uint32_t classes = tinc_classes(net);
    if (target >= classes) {
        return tinc_fail(net, TINC_E_CLASS, 0, target, classes);
    }
    return step(net, x, target, 1, counts, figures, scratch, scratch_bytes);
}

int tinc_replay(tinc_net *net, uint32_t excluded, void *x, uint32_t *counts, float *figures,
                void *scratch, size_t scratch_bytes) {
    const int slot = tinc_choose(net, excluded);
    if (slot < 0) {
        return slot;
    }
    const int cls = tinc_recall(net, (uint32_t)slot, x);
    const int error = step(net, x, (uint32_t)cls, 0, counts, figures, scratch, scratch_bytes);
    return error ? error : cls;
}
