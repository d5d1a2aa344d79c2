/* The output in q8: probabilities, the loss and its gradient, without floating point. */
#include "fixed.h"

#define DELTA_POINT 15     /* bits behind the point of p - onehot; of logits 10 */
#define LOG2_E 0xB8AA3B29u /* times 2^31 */
#define LN_2 0x3F317218u   /* as a float32 */

uint32_t tinc_q8_argmax(const int32_t *values, uint32_t n) {
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++) {
        best = values[i] > values[best] ? i : best;
    }
    return best;
}

void tinc_q8_softmax(tinc_word *x, uint32_t n) {
    const int32_t point = 32 - (int32_t)tinc_bit_length(n); /* n terms of up to 1 fit */
    uint32_t sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        x[i] = tinc_bits_exp2(x[i]);
        sum += tinc_bits_fixed(x[i], point);
    }
    const tinc_bits inverse = tinc_bits_divide(TINC_ONE, tinc_bits_of(sum, -point));
    for (uint32_t i = 0; i < n; i++) {
        x[i] = tinc_bits_multiply(x[i], inverse);
    }
}

#define MOST_DIFFERENCE 0xFFFFu /* of logits: a chance of exp -64, which is none */

/* exp -d = 2^-(d log2 e) of the distances d to the largest. */
static uint32_t softmax_of_logits(const int32_t *logits, uint32_t n, tinc_word *out) {
    const uint32_t largest = tinc_q8_argmax(logits, n);
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t d = (uint32_t)logits[largest] - (uint32_t)logits[i];
        out[i] = tinc_multiply_high((d < MOST_DIFFERENCE ? d : MOST_DIFFERENCE) << 16, LOG2_E);
    }
    tinc_q8_softmax(out, n);
    return largest;
}

uint32_t tinc_q8_probabilities(const void *logits, uint32_t n, float *probabilities) {
    return softmax_of_logits(logits, n, (tinc_word *)(void *)probabilities);
}

/* p - onehot in fixed point, where the bits of p are, with `share` of the target for every class;
 * returns the sum of magnitudes. The target gets what the others give, to the last bit: a sum other
 * than 0 would push all logits up or down for ever, which the softmax does not see. Of 1 only
 * 1 - 2^-15 is kept, so that 15 bits and a sign hold it. */
static uint32_t subtract_onehot(int32_t *p, uint32_t n, uint32_t target, int32_t share) {
    const int32_t most = (1 << DELTA_POINT) - 1;
    int32_t others = 0;
    uint32_t sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        const int32_t chance = (int32_t)tinc_bits_fixed((tinc_bits)p[i], DELTA_POINT) - share;
        p[i] = chance > most - others ? most - others : chance;
        if (i != target) {
            others += p[i];
            sum += (uint32_t)(p[i] < 0 ? -p[i] : p[i]);
        }
    }
    p[target] = -others;
    return sum + (uint32_t)(others < 0 ? -others : others);
}

int tinc_q8_loss(tinc_work *work, const void *logits, uint32_t target, int lesson, float *figures) {
    const uint32_t classes = tinc_classes(work->net), last = work->net->layer_count - 1u;
    int32_t *delta = tinc_place(work, last, TINC_DELTA);
    softmax_of_logits(logits, classes, (tinc_word *)delta);
    uint32_t remainder;
    const tinc_bits smoothing = tinc_float_bits(work->net->state->label_smoothing);
    const int32_t share = lesson ? 0
                                 : (int32_t)tinc_divide(0, tinc_bits_fixed(smoothing, DELTA_POINT),
                                                        classes, &remainder);
    const int32_t halvings = -tinc_bits_log2((tinc_bits)delta[target]);
    const tinc_bits loss =
        tinc_bits_multiply(tinc_bits_of((uint32_t)(halvings > 0 ? halvings : 0), -16), LN_2);
    const tinc_bits error =
        tinc_bits_of(subtract_onehot(delta, classes, target, share), -DELTA_POINT);

    tinc_bits chance;
    const tinc_bits factor = tinc_q8_admit(work->net, error, &chance);
    const int32_t exponent = tinc_bits_exponent(factor) - 14; /* 15 bits of the factor */
    const int32_t mantissa = (int32_t)tinc_bits_fixed(factor, -exponent);
    for (uint32_t i = 0; i < classes; i++) {
        delta[i] *= mantissa;
    }
    tinc_tensor *tensor = tinc_tensor_of(work, last, TINC_DELTA);
    tensor->exponent = (int16_t)(exponent - DELTA_POINT);
    tensor->live = 1;
    figures[TINC_STEP_LOSS] = tinc_bits_float(loss);
    figures[TINC_STEP_ERROR] = tinc_bits_float(error);
    figures[TINC_STEP_PROBABILITY] = tinc_bits_float(chance);
    return factor != 0;
}
