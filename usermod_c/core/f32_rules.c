/* Learning rules: which samples are worth a backward pass, and how much of each layer it visits. */
#include "internal.h"

/* What a draw can tell apart from never; the factor of a rarer sample could overflow. */
#define LEAST_CHANCE (1.0f / 16777216.0f)

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
    if (error >= y_max) { /* exactly: rounding must not lose a row */
        return error > 0.0f ? high : low;
    }
    return low + error * (high - low) / y_max;
}

static uint32_t share(uint32_t units, float ratio) {
    const uint32_t rounded = (uint32_t)((float)units * ratio + 0.5f);
    const uint32_t k = rounded < 1u ? 1u : rounded;
    return k > units ? units : k;
}

float tinc_rule_admit(tinc_net *net, float error, float *probability) {
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

uint32_t tinc_rule_k(tinc_net *net, uint32_t layer, uint32_t depth, float error) {
    const tinc_state *state = net->state;
    const uint32_t units = net->layers[layer].active;
    switch (state->rule) {
    case TINC_RULE_STATIC:
        return share(units, state->static_ratio);
    case TINC_RULE_TINYPROP: /* arXiv 2308.09201 */
    case TINC_RULE_TINYPROP2: {
        float ratio = scaled_error(net, layer, error, state->s_min, state->s_max);
        for (uint32_t p = 0; p < depth; p++) {
            ratio *= state->zeta;
        }
        return share(units, ratio);
    }
    case TINC_RULE_SAMPLED: /* rows of the output are dear: dropping them costs points */
        return layer == net->layer_count - 1 ? units : share(units, state->hidden_ratio);
    default:
        return units;
    }
}
