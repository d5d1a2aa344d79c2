/* Learning rules in q8: as f32_rules.c, in fixed point. Ratios have 31 bits behind the point. */
#include "fixed.h"

#define RATIO_POINT 31
#define LEAST_CHANCE (1u << (RATIO_POINT - 24)) /* what a draw can tell apart from never */

static uint32_t ratio_setting(float value) {
    return tinc_bits_fixed(tinc_float_bits(value), RATIO_POINT);
}

/* low + (Y / Y_max)(high - low), the form that TinyProp's ratio and TinyPropv2's decision share;
 * Y_max, the layer's running maximum, includes this Y. */
static uint32_t scaled_error(tinc_net *net, uint32_t l, tinc_bits error, float least, float most) {
    tinc_layer_state *state = &tinc_layer_states(net)[l];
    const uint32_t low = ratio_setting(least), high = ratio_setting(most);
    const tinc_bits y_max = tinc_magnitude_bits(state->y_max);
    if (error >= y_max) {
        state->y_max = tinc_bits_float(error);
        return error > 0 ? high : low; /* exactly: rounding must not lose an element */
    }
    const uint32_t share = tinc_bits_fixed(tinc_bits_divide(error, y_max), 32);
    return high > low ? low + tinc_multiply_high(high - low, share)
                      : low - tinc_multiply_high(low - high, share);
}

tinc_bits tinc_q8_admit(tinc_net *net, tinc_bits error, tinc_bits *probability) {
    tinc_state *state = net->state;
    *probability = TINC_ONE;
    if (state->rule == TINC_RULE_TINYPROP2) { /* arXiv 2409.07109 */
        const uint32_t d =
            scaled_error(net, net->layer_count - 1u, error, state->d_min, state->d_max);
        const tinc_bits decision =
            tinc_bits_multiply(tinc_bits_of(d, -RATIO_POINT), tinc_magnitude_bits(state->beta));
        *probability = decision < tinc_magnitude_bits(state->d_threshold) ? 0 : TINC_ONE;
    }
    if (state->rule != TINC_RULE_SAMPLED) {
        return *probability;
    }
    /* importance sampling: on average the full gradient */
    uint32_t chance = tinc_bits_fixed(
        tinc_bits_divide(error, tinc_float_bits(state->error_threshold)), RATIO_POINT);
    chance = chance < 1u << RATIO_POINT ? chance : 1u << RATIO_POINT;
    chance = chance > LEAST_CHANCE ? chance : LEAST_CHANCE;
    *probability = tinc_bits_of(chance, -RATIO_POINT);
    const uint32_t draw = tinc_next(state) >> 8; /* of 24 bits */
    return draw * LEAST_CHANCE < chance ? tinc_bits_divide(TINC_ONE, *probability) : 0;
}

/* The sum of magnitudes of the layer's gradient: at most 65535 of 15 bits. */
static tinc_bits local_error(const tinc_work *work, uint32_t l) {
    const int32_t *delta = tinc_place(work, l, TINC_DELTA);
    uint32_t sum = 0;
    for (uint32_t i = tinc_layer_outputs(&work->net->layers[l]); i-- > 0;) {
        sum += (uint32_t)(delta[i] < 0 ? -delta[i] : delta[i]);
    }
    return tinc_bits_of(sum, tinc_tensor_of(work, l, TINC_DELTA)->exponent);
}

/* TinyProp's back-propagation ratio (arXiv 2308.09201). */
static uint32_t ratio_of(tinc_work *work, uint32_t l, uint32_t depth) {
    const tinc_state *state = work->net->state;
    const uint32_t zeta = ratio_setting(state->zeta);
    uint32_t ratio = scaled_error(work->net, l, local_error(work, l), state->s_min, state->s_max);
    for (uint32_t p = 0; p < depth; p++) {
        ratio = tinc_multiply_high(ratio, zeta) << 1;
    }
    return ratio;
}

/* elements * ratio, rounded to the nearest, at least 1. */
static uint32_t share_of(uint32_t elements, uint32_t ratio) {
    const uint32_t halves = tinc_multiply_high(elements << 16, ratio) >> (RATIO_POINT - 17);
    const uint32_t rounded = (halves + 1u) >> 1;
    const uint32_t k = rounded < 1u ? 1u : rounded;
    return k > elements ? elements : k;
}

uint32_t tinc_q8_k(tinc_work *work, uint32_t l, uint32_t depth) {
    const tinc_state *state = work->net->state;
    const uint32_t elements = tinc_layer_outputs(&work->net->layers[l]);
    if (state->rule == TINC_RULE_STATIC) {
        return share_of(elements, ratio_setting(state->static_ratio));
    }
    if (state->rule == TINC_RULE_TINYPROP || state->rule == TINC_RULE_TINYPROP2) {
        return share_of(elements, ratio_of(work, l, depth));
    }
    if (state->rule == TINC_RULE_SAMPLED && l + 1 < work->net->layer_count) {
        return share_of(elements, ratio_setting(state->hidden_ratio));
    }
    return elements;
}
