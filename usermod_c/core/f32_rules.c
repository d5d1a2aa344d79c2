/* Learning rules: which samples are worth a backward pass, and how much of each layer it visits. */
#include "f32.h"

#if TINYINC_F32

/* What a draw can tell apart from never; the factor of a rarer sample could overflow. */
#define LEAST_CHANCE (1.0f / 16777216.0f)

float tinc_f32_error(const float *delta, uint32_t n) {
    float sum = 0.0f;
    for (uint32_t i = 0; i < n; i++) {
        sum += delta[i] < 0.0f ? -delta[i] : delta[i];
    }
    return sum;
}

/* The layer's running maximum of its local error, this sample included. */
static float update_y_max(tinc_net *net, uint32_t layer, float error) {
    tinc_layer_state *state = &tinc_layer_states(net)[layer];
    if (error > state->y_max) {
        state->y_max = error;
    }
    return state->y_max;
}

/* low + (Y / Y_max)(high - low), the form that TinyProp's ratio and TinyPropv2's decision share. */
static float scaled_error(tinc_net *net, uint32_t layer, float error, float low, float high) {
    const float y_max = update_y_max(net, layer, error);
    if (error >= y_max) { /* exactly: rounding must not lose an element */
        return error > 0.0f ? high : low;
    }
    return low + error * (high - low) / y_max;
}

static uint32_t share(uint32_t elements, float ratio) {
    const uint32_t rounded = (uint32_t)((float)elements * ratio + 0.5f);
    const uint32_t k = rounded < 1u ? 1u : rounded;
    return k > elements ? elements : k;
}

float tinc_f32_admit(tinc_net *net, float error, float *probability) {
    tinc_state *state = net->state;
    const uint32_t last = net->layer_count - 1;
    *probability = 1.0f;
    if (state->rule == TINC_RULE_TINYPROP2) { /* arXiv 2409.07109 */
        const float d = scaled_error(net, last, error, state->d_min, state->d_max) * state->beta;
        *probability = d < state->d_threshold ? 0.0f : 1.0f;
        return *probability;
    }
    if (state->rule == TINC_RULE_SAMPLED) { /* importance sampling: on average the full gradient */
        *probability = tinc_clip(error / state->error_threshold, LEAST_CHANCE, 1.0f);
        return tinc_uniform(state) < *probability ? 1.0f / *probability : 0.0f;
    }
    return 1.0f;
}

/* TinyProp's back-propagation ratio (arXiv 2308.09201). */
static float ratio_of(tinc_work *work, uint32_t l, uint32_t depth) {
    const tinc_state *state = work->net->state;
    const uint32_t elements = tinc_layer_outputs(&work->net->layers[l]);
    const float error = tinc_f32_error(tinc_place(work, l, TINC_DELTA), elements);
    float ratio = scaled_error(work->net, l, error, state->s_min, state->s_max);
    for (uint32_t p = 0; p < depth; p++) {
        ratio *= state->zeta;
    }
    return ratio;
}

uint32_t tinc_f32_k(tinc_work *work, uint32_t l, uint32_t depth) {
    const tinc_state *state = work->net->state;
    const uint32_t elements = tinc_layer_outputs(&work->net->layers[l]);
    if (state->rule == TINC_RULE_STATIC) {
        return share(elements, state->static_ratio);
    }
    if (state->rule == TINC_RULE_TINYPROP || state->rule == TINC_RULE_TINYPROP2) {
        return share(elements, ratio_of(work, l, depth));
    }
    if (state->rule == TINC_RULE_SAMPLED && l + 1 < work->net->layer_count) {
        return share(elements, state->hidden_ratio); /* dropping any of the output costs points */
    }
    return elements;
}

#endif
