/* Dense layers in integers, and how any layer with weights passes its gradient on. */
#include "q8.h"

void tinc_q8_run_dense(tinc_work *work, uint32_t l, const int8_t *in, void *out,
                       q8_activation *activation) {
    const tinc_layer *layer = &work->net->layers[l];
    const void *weights = tinc_weights(work->net, layer);
    const int last = l + 1 == work->net->layer_count;
    const uint32_t n = tinc_layer_inputs(work->net, l);
    const q8_inputs inputs = tinc_q8_inputs(in, n, tinc_place(work, l, TINC_FORWARD));
    work->dense |= (uint32_t)(inputs.n > n / 2u) << l;
    int32_t *logits = last ? out : NULL;
    int8_t *values = last ? NULL : out;
    for (uint32_t row = 0; row < layer->active; row += Q8_ROWS) {
        const uint32_t left = layer->active - row, rows = left < Q8_ROWS ? left : Q8_ROWS;
        q8_scaling scaling[Q8_ROWS];
        int32_t sums[Q8_ROWS];
        tinc_q8_scalings(activation, row, rows, scaling);
        tinc_q8_sums(layer, weights, row, rows, &inputs, sums);
        tinc_q8_outputs(activation, scaling, sums, rows, last ? NULL : values + row);
        for (uint32_t r = 0; last && r < rows; r++) {
            logits[row + r] = sums[r] * (1 << (activation->out + 10)); /* Q10, whatever the step */
        }
    }
    work->forward += layer->active * inputs.n;
}

int tinc_q8_factors(tinc_work *work, uint32_t l, const uint16_t *list, uint32_t listed,
                    q8_factors *factors) {
    const tinc_layer *layer = &work->net->layers[l];
    factors->delta = tinc_place(work, l, TINC_DELTA);
    factors->scales = tinc_scales(work->net, layer);
    factors->channels = layer->active;
    q8_place place = {0, 0, 0};
    int top = 0, any = 0;
    for (uint32_t k = 0; k < listed; k++) {
        const uint32_t scale = factors->scales[q8_walk(&place, layer, list[k])];
        const uint32_t product = q8_magnitude(factors->delta[list[k]] * q8_mantissa(scale));
        const int bits = (int)tinc_bit_length(product) + q8_exponent(scale);
        if (product != 0 && (!any || bits > top)) {
            top = bits;
            any = 1;
        }
    }
    factors->exponent = top - 7;
    if (any) {
        const int delta_exponent = tinc_tensor_of(work, l, TINC_DELTA)->exponent;
        factors->rest = tinc_q8_align(work, l - 1u, delta_exponent + factors->exponent);
    }
    return any;
}

static int32_t factor_of(const q8_factors *factors, uint32_t output, uint32_t channel) {
    const uint32_t scale = factors->scales[channel];
    const int32_t product = factors->delta[output] * q8_mantissa(scale);
    const int32_t factor = tinc_q8_shift(product, q8_exponent(scale) - factors->exponent, 127);
    return factors->rest == 0 ? factor : tinc_q8_shift(factor, -(int)factors->rest, 127);
}

uint32_t tinc_q8_pair(const q8_factors *factors, const uint16_t *list, uint32_t listed,
                      uint32_t channel, int32_t c[2]) {
    const uint32_t output = *list, odd = channel & 1u;
    const int both =
        !odd && channel + 1u < factors->channels && listed > 1u && list[1] == output + 1u;
    c[odd] = factor_of(factors, output, channel);
    c[1u - odd] = both ? factor_of(factors, output + 1u, channel + 1u) : 0;
    return 1u + (uint32_t)both;
}

/* List the set bits of a mask over n values, or return n when they are more than half of them. */
static uint32_t list_live(const uint8_t *mask, uint32_t n, uint16_t *list) {
    uint32_t live = 0;
    for (uint32_t first = 0; first < n; first += 8) {
        uint32_t i = first;
        for (unsigned bits = *mask++; bits != 0; bits >>= 1, i++) {
            list[live] = (uint16_t)i;
            live += bits & 1u;
        }
    }
    return 2u * live <= n ? live : n;
}

void tinc_q8_propagate_dense(tinc_work *work, uint32_t l, const uint16_t *list, uint32_t listed,
                             const q8_factors *factors) {
    const tinc_layer *layer = &work->net->layers[l];
    const uint8_t *mask = tinc_place(work, l - 1u, TINC_MASK);
    const uint32_t inputs = tinc_layer_inputs(work->net, l);
    /* what a ReLU did not cut is not 0, and the other way round */
    const int all = mask == NULL || (layer[-1].activation == TINC_RELU && work->dense >> l & 1u);
    uint16_t *live = tinc_backward_room(work, l);
    const uint32_t n = all ? inputs : list_live(mask, inputs, live);
    while (n > 0 && listed > 0) {
        const uint32_t row = *list;
        int32_t c[2];
        const uint32_t taken = tinc_q8_pair(factors, list, listed, row, c);
        const uint32_t used = (uint32_t)(c[0] != 0) + (c[1] != 0);
        work->backward += used * n;
        if (used > 0) {
            tinc_q8_axpy(layer, tinc_weights(work->net, layer), row / 2u, 0,
                         n < inputs ? live : NULL, n, c, tinc_place(work, l - 1u, TINC_DELTA));
        }
        list += taken;
        listed -= taken;
    }
}
