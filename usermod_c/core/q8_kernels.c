/* The loops over weights in integers: sums and changes of rows in pairs, for dense layers and for
 * convolutions. Machines' own ways to do them are in q8_lanes.h. */
#include "q8.h"
#include "q8_lanes.h"

uint32_t tinc_q8_list(const int8_t *x, uint32_t n, int32_t least, uint16_t *list) {
    uint32_t used = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (x[i] >= least || x[i] <= -least) {
            list[used++] = (uint16_t)i;
        }
    }
    return used;
}

q8_inputs tinc_q8_inputs(const int8_t *x, uint32_t n, uint16_t *list) {
    int32_t sum = 0, all = 0; /* the latter negative as soon as one is */
    uint32_t used = q8_survey(x, n, &sum, &all);
    if (2u * used > n) { /* looking up costs more than zeros */
        return (q8_inputs){x, NULL, n, sum, all >= 0};
    }
    used = used == 0 ? 0 : tinc_q8_list(x, n, 1, list);
    return (q8_inputs){x, list, used, sum, all >= 0};
}

/* Words from one pair of rows to the next. */
static uint32_t pair_words(const tinc_layer *layer) {
    const uint32_t n = tinc_row_weights(layer);
    return q8_is_wide(layer) ? n : (n + 1u) / 2u;
}

void tinc_q8_sums(const tinc_layer *layer, const void *weights, uint32_t row, uint32_t n,
                  const q8_inputs *in, int32_t *sums) {
    const uint32_t stride = pair_words(layer), end = row + n;
    const uint32_t *w = (const uint32_t *)weights + row / 2u * stride;
    const int wide = q8_is_wide(layer);
    const q8_dot dot = q8_dot_of(wide, in);
    for (; row < end; row += 4, sums += 4, w += 2u * stride) {
        const int alone = row + 2u >= layer->active; /* the last pair may be */
        q8_dot4(&dot, wide, w, alone ? w : w + stride, in, sums);
    }
}

void tinc_q8_axpy(const tinc_layer *layer, const void *weights, uint32_t pair, uint32_t from,
                  const uint16_t *list, uint32_t n, const int32_t c[2], int32_t *y) {
    const uint32_t *w = (const uint32_t *)weights + pair * pair_words(layer);
    if (q8_is_wide(layer)) {
        q8_axpy2_int16(y, w + from, list, n, c[0], c[1]);
    } else {
        q8_axpy2_int8(y, w, from, list, n, c[0], c[1]);
    }
}

uint32_t tinc_q8_axpy_x(const q8_block *block, int32_t *sums, const int8_t *x, int32_t d,
                        int32_t least) {
    uint32_t used = 0;
    for (uint32_t row = block->n > 0 ? block->rows : 0; row > 0; row--) {
        used += q8_axpy_x(sums, x, block->n, d, least);
        sums += block->sums_step;
        x += block->x_step;
    }
    return used;
}

unsigned tinc_q8_update_pair(uint32_t *weights, const q8_inputs *in, const q8_change *change) {
    return q8_update2_int16(weights, in, change);
}
