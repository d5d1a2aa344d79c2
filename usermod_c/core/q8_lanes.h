/* The innermost loops of q8, in plain C: what a machine may have quicker, with the same results to
 * the last bit. -DTINYINC_PLAIN selects the plain ones everywhere. Only q8_dense.c includes this.
 *
 * Weights lie in pairs of rows (../SPEC.md): of masters, a 4-aligned word per input holds u = m +
 * 32896 of row 0 in its low half and of row 1 in its high half; the weight is (u >> 8) - 128. Of
 * int8, a 4-aligned word per two inputs holds the bytes w + 128 {r0 i0, r0 i1, r1 i0, r1 i1}.
 * Inputs x are int8 within -127..127 at any address. Sums fit int32. */
#ifndef TINYINC_Q8_LANES_H
#define TINYINC_Q8_LANES_H

#include "q8.h"

/* Where the weight of row 0 for input i lies; that of row 1 lies 2 bytes on. */
static inline const uint8_t *int8_weight(const uint32_t *w, uint32_t i) {
    return (const uint8_t *)w + (2u * i - (i & 1u));
}

/* How many of n inputs are not 0; adds them to *sum, and ors them into *all. */
static uint32_t q8_survey_bytes(const int8_t *x, uint32_t n, int32_t *sum, int32_t *all) {
    uint32_t used = 0;
    for (uint32_t i = 0; i < n; i++) {
        used += x[i] != 0;
        *sum += x[i];
        *all |= x[i];
    }
    return used;
}

/* What the update of a pair of rows needs to do both in one word, in halves: w += (factor x +
 * rounding) >> shift & mask, less what `rounding` has too much. `offset` takes that away, and
 * leaves WATCHED on top, with which a half has one of its upper two bits set exactly if the weight
 * stayed in bounds (the lower half of the two may carry, but then it is out of bounds itself). */
#define WATCHED 0x20002000u
typedef struct {
    uint32_t rounding, offset, unwatched, mask, shift, factor;
} update_numbers;

#if !defined(TINYINC_PLAIN) && defined(__thumb__) && !defined(__thumb2__)
#include "q8_lanes_m0.h"
#define TINYINC_HAS_LANES
#elif !defined(TINYINC_PLAIN) && defined(__thumb2__) && defined(__ARM_FEATURE_DSP)
#include "q8_lanes_dsp.h"
#define TINYINC_HAS_LANES
#endif

/* survey_words: the same for words of four, but the sum is one of x + 128, and bit 7 of a byte of
 * *any tells that some x there is below 0. */
#if !defined(TINYINC_HAS_LANES) || !defined(__ARM_FEATURE_DSP)
static uint32_t survey_words(const tinc_word *word, const tinc_word *end, uint32_t *sum,
                             uint32_t *any) {
    const uint32_t high = 0x80808080u, even = 0x00FF00FFu;
    uint32_t used = 0, total = 0, all = 0;
    for (; word < end; word++) {
        const uint32_t nonzero = (((*word & ~high) + ~high) | *word) & high;
        const uint32_t above = *word ^ high; /* x + 128 */
        all |= *word;
        used += (nonzero >> 7) * 0x01010101u >> 24; /* a product that adds up bytes, */
        total += ((above & even) + (above >> 8 & even)) * 0x00010001u >> 16; /* or halves */
    }
    *sum = total;
    *any = all;
    return used;
}
#endif

static uint32_t q8_survey(const int8_t *x, uint32_t n, int32_t *sum, int32_t *all) {
    const uint32_t words = (uintptr_t)x % 4u == 0 ? n / 4u : 0, done = 4u * words;
    const tinc_word *const first = (const tinc_word *)(const void *)x;
    uint32_t total, any;
    const uint32_t used = survey_words(first, first + words, &total, &any);
    *sum += (int32_t)(total - 128u * done);
    *all |= any & 0x80808080u ? -1 : 0;
    return used + q8_survey_bytes(x + done, n - done, sum, all);
}

/* dot4_leading: sums[4] of the first inputs, as many as it returns; of u instead of u - 128. */
#ifndef TINYINC_HAS_LANES
static uint32_t dot4_leading_int16(int32_t *sums, const uint32_t *w, uint32_t stride,
                                   const q8_inputs *in) {
    (void)sums, (void)w, (void)stride, (void)in;
    return 0;
}

static uint32_t dot4_leading_int8(int32_t *sums, const uint32_t *w, uint32_t stride,
                                  const q8_inputs *in) {
    (void)sums, (void)w, (void)stride, (void)in;
    return 0;
}
#endif

/* sums[4] = the rows of two pairs, the second `stride` words on, times the inputs, all or listed.
 */
static void q8_dot4_int16(int32_t *sums, const uint32_t *w, uint32_t stride, const q8_inputs *in) {
    int32_t sum[4] = {0, 0, 0, 0};
    for (uint32_t k = dot4_leading_int16(sum, w, stride, in); k < in->n; k++) {
        const uint32_t i = in->list != NULL ? in->list[k] : k;
        const int32_t x = in->x[i];
        sum[0] += (int32_t)(w[i] >> 8 & 0xFFu) * x;
        sum[1] += (int32_t)(w[i] >> 24) * x;
        sum[2] += (int32_t)(w[stride + i] >> 8 & 0xFFu) * x;
        sum[3] += (int32_t)(w[stride + i] >> 24) * x;
    }
    for (uint32_t r = 0; r < 4; r++) {
        sums[r] = sum[r] - 128 * in->sum;
    }
}

/* The same from int8 weights. */
static void q8_dot4_int8(int32_t *sums, const uint32_t *w, uint32_t stride, const q8_inputs *in) {
    int32_t sum[4] = {0, 0, 0, 0};
    for (uint32_t k = dot4_leading_int8(sum, w, stride, in); k < in->n; k++) {
        const uint32_t i = in->list != NULL ? in->list[k] : k;
        const uint8_t *const weight = int8_weight(w, i), *const next = weight + 4u * stride;
        const int32_t x = in->x[i];
        sum[0] += weight[0] * x;
        sum[1] += weight[2] * x;
        sum[2] += next[0] * x;
        sum[3] += next[2] * x;
    }
    for (uint32_t r = 0; r < 4; r++) {
        sums[r] = sum[r] - 128 * in->sum;
    }
}

/* y[i] += (u[step i] - 128) c for n values: the weights of one row. */
static void axpy_row(int32_t *y, const uint8_t *u, uint32_t step, uint32_t n, int32_t c) {
    const int32_t offset = -128 * c;
    for (int32_t *const end = y + n; y < end; y++, u += step) {
        *y += *u * c + offset;
    }
}

/* y[i] += w0[i] c0 + w1[i] c1 for the listed i, or for all n when list is NULL; c within -127..127,
 * and one of them is often 0. */
static void q8_axpy2_int16(int32_t *y, const uint32_t *w, const uint16_t *list, uint32_t n,
                           int32_t c0, int32_t c1) {
    if (list == NULL && (c0 == 0 || c1 == 0)) {
        axpy_row(y, (const uint8_t *)w + (c0 != 0 ? 1 : 3), 4, n, c0 | c1);
        return;
    }
    const int32_t offset = -128 * (c0 + c1);
    for (uint32_t k = 0; k < n; k++) {
        const uint32_t i = list != NULL ? list[k] : k;
        y[i] += (int32_t)(w[i] >> 8 & 0xFFu) * c0 + (int32_t)(w[i] >> 24) * c1 + offset;
    }
}

/* The same from int8 weights, where y[0] belongs to input `from`, which may be odd. */
static void q8_axpy2_int8(int32_t *y, const uint32_t *w, uint32_t from, const uint16_t *list,
                          uint32_t n, int32_t c0, int32_t c1) {
    const int32_t offset = -128 * (c0 + c1);
    for (uint32_t k = 0; k < n; k++) {
        const uint32_t i = list != NULL ? list[k] : k;
        const uint8_t *const weight = int8_weight(w, from + i);
        y[i] += weight[0] * c0 + weight[2] * c1 + offset;
    }
}

/* Does a word hold a weight whose upper byte is outside 32..223? A bit per half. */
static inline unsigned out_of_bounds(uint32_t word) {
    return (unsigned)((word >> 8 & 0xFFu) - 32u > 191u) | (unsigned)((word >> 24) - 32u > 191u)
                                                              << 1;
}

/* update2_leading: q8_update2_int16() for the first inputs, as many as it returns. */
#ifdef TINYINC_HAS_LANES
static uint32_t update2_leading(uint32_t *w, const q8_inputs *in, int32_t d0, int32_t d1,
                                unsigned s, uint32_t round, unsigned *large) {
    const uint32_t both = 0x00010001u, positive = 16384; /* d x + positive > 0, in 16 bits */
    const uint32_t whole = in->list != NULL || s > 14 ? 0 : in->n & ~3u;
    const update_numbers numbers = {(positive + round) * both,
                                    WATCHED - (positive >> s) * both,
                                    0u - WATCHED,
                                    (0xFFFFu >> s) * both,
                                    s,
                                    (uint32_t)d0 + ((uint32_t)d1 << 16)};
    if (whole > 0 && ~update_words(in->x, w, &numbers, in->x + whole) & 0x80008000u) {
        for (uint32_t i = 0; i < whole; i++) { /* seldom */
            *large |= out_of_bounds(w[i]);
        }
    }
    return whole;
}
#else
static uint32_t update2_leading(uint32_t *w, const q8_inputs *in, int32_t d0, int32_t d1,
                                unsigned s, uint32_t round, unsigned *large) {
    (void)w, (void)in, (void)d0, (void)d1, (void)s, (void)round, (void)large;
    return 0;
}
#endif

/* Masters of a pair += (d x + round) >> s for the inputs, all or listed; d within -127..127, s in
 * 1..15, round in 0..2^s - 1. Masters are within +-24576 before, so that no half of a word runs
 * over. Returns a bit per row: the upper byte of some u came out outside 32..223. */
static unsigned q8_update2_int16(uint32_t *w, const q8_inputs *in, int32_t d0, int32_t d1,
                                 unsigned s, uint32_t round) {
    unsigned large = 0;
    for (uint32_t k = update2_leading(w, in, d0, d1, s, round, &large); k < in->n; k++) {
        const uint32_t i = in->list != NULL ? in->list[k] : k;
        const int32_t step0 = (d0 * in->x[i] + (int32_t)round) >> s;
        const int32_t step1 = (d1 * in->x[i] + (int32_t)round) >> s;
        w[i] += (uint32_t)step0 + ((uint32_t)step1 << 16);
        large |= out_of_bounds(w[i]);
    }
    return large;
}

/* sums[i] += d x[i] for the n inputs of at least `least` (1..128) in magnitude, |d| < 2^15.
 * Returns how many these were. */
static uint32_t q8_axpy_x(int32_t *sums, const int8_t *x, uint32_t n, int32_t d, int32_t least) {
    uint32_t used = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (x[i] >= least || x[i] <= -least) {
            sums[i] += d * x[i];
            used++;
        }
    }
    return used;
}

#endif
