/* The innermost loops of q8, in plain C: what a machine may have quicker, with the same results to
 * the last bit. -DTINYINC_PLAIN selects the plain ones everywhere. Only q8_kernels.c includes this.
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

/* What the sums of many rows over the same inputs have in common. */
typedef struct {
    const int8_t *x;
    const uint16_t *list;
    const void *end; /* of the x or the list that a machine does in its own way, */
    int32_t start;   /* what a sum then starts with, */
    uint32_t loop;   /* which loop does it, */
    uint32_t done;   /* and how many inputs that are */
} q8_dot;

/* update_words: the change of a pair of rows for inputs from x to end, both rows in one word, which
 * holds two halves: w += (d x + LIFT + round) >> s, less LIFT >> s, which keeps a half's sum from
 * being negative. With WATCHED on top, a half has one of its upper two bits set
 * exactly if the weight stayed in bounds (the lower half of the two may carry, but then it is out
 * of bounds itself); returns these bits, as the uppermost of the halves, of all words together. */
#define LIFT 16384u
#define WATCHED 0x20002000u

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
static Q8_APART uint32_t survey_words(const tinc_word *word, const tinc_word *end, uint32_t *sum,
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

/* dot4: sums[4] of the first dot->done inputs, at least one, the sums being of u instead of u -
 * 128; prepare_dot: how many these are, and how it goes. */
#ifndef TINYINC_HAS_LANES
static void prepare_dot(q8_dot *dot, int wide, const q8_inputs *in) {
    (void)dot, (void)wide, (void)in;
}

static void dot4(const uint32_t *p, const uint32_t *q, int32_t *sums, const q8_dot *dot) {
    (void)p, (void)q, (void)sums, (void)dot;
}
#endif

static q8_dot q8_dot_of(int wide, const q8_inputs *in) {
    q8_dot dot = {.x = in->x, .list = in->list, .start = -128 * in->sum};
    prepare_dot(&dot, wide, in);
    return dot;
}

/* sums[4] = the rows of two pairs, p and q, of masters (wide) or int8 weights, times the inputs,
 * all or listed. */
static void q8_dot4(const q8_dot *dot, int wide, const uint32_t *p, const uint32_t *q,
                    const q8_inputs *in, int32_t *sums) {
    if (dot->done > 0) {
        dot4(p, q, sums, dot);
    } else {
        sums[0] = sums[1] = sums[2] = sums[3] = dot->start;
    }
    for (uint32_t k = dot->done; k < in->n; k++) {
        const uint32_t i = in->list != NULL ? in->list[k] : k;
        const uint8_t *weight = wide ? (const uint8_t *)(p + i) + 1 : int8_weight(p, i);
        for (uint32_t r = 0; r < 4; r += 2, weight += 4 * (q - p)) {
            sums[r] += weight[0] * in->x[i];
            sums[r + 1u] += weight[2] * in->x[i];
        }
    }
}

/* y[i] += w0[i] c0 + w1[i] c1 from y to end, which is not y; c within -127..127. One multiplication
 * does both: (u0 + 2^16 u1) (c1 + 2^16 c0) has u0 c0 + u1 c1 above u0 c1, which 2^15 more keeps
 * from being negative. */
static Q8_APART void axpy_pair(int32_t *y, const uint32_t *w, const int32_t *end, int32_t c0,
                               int32_t c1) {
    const uint32_t factor = (uint32_t)c1 + ((uint32_t)c0 << 16);
    const uint32_t offset = 0x8000u - ((uint32_t)(c0 + c1) << 23);
    do {
        *y++ += (int32_t)((*w++ >> 8 & 0x00FF00FFu) * factor + offset) >> 16;
    } while (y < end);
}

/* The same for n inputs, listed or, when list is NULL, the first n > 0. */
static void q8_axpy2_int16(int32_t *y, const uint32_t *w, const uint16_t *list, uint32_t n,
                           int32_t c0, int32_t c1) {
    if (list == NULL) {
        axpy_pair(y, w, y + n, c0, c1);
        return;
    }
    for (uint32_t k = 0; k < n; k++) {
        axpy_pair(y + list[k], w + list[k], y + list[k] + 1u, c0, c1);
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

/* From the k-th input on; apart, since there often is none. */
static Q8_APART unsigned update2_rest(uint32_t *w, const q8_inputs *in, const q8_change *change,
                                      uint32_t k) {
    const int32_t d0 = change->d[0], d1 = change->d[1], round = (int32_t)change->round;
    const uint32_t s = change->s;
    unsigned large = 0;
    for (; k < in->n; k++) {
        const uint32_t i = in->list != NULL ? in->list[k] : k;
        const int32_t step0 = (d0 * in->x[i] + round) >> s, step1 = (d1 * in->x[i] + round) >> s;
        w[i] += (uint32_t)step0 + ((uint32_t)step1 << 16);
        large |= out_of_bounds(w[i]);
    }
    return large;
}

/* Masters of a pair += (d x + round) >> s for the inputs, all or listed; d within -127..127, s in
 * 1..14, round in 0..2^s - 1. Masters are within +-24576 before, so that no half of a word runs
 * over. Returns a bit per row: the upper byte of some u came out outside 32..223. */
static unsigned q8_update2_int16(uint32_t *w, const q8_inputs *in, const q8_change *change) {
    unsigned large = 0;
    uint32_t done = 0;
#ifdef TINYINC_HAS_LANES
    done = in->list != NULL || (uintptr_t)in->x % 4u != 0 ? 0 : in->n & ~3u;
    if (done > 0 && ~update_words(in->x, w, in->x + done, change) & 0x80008000u) {
        for (uint32_t i = 0; i < done; i++) { /* seldom */
            large |= out_of_bounds(w[i]);
        }
    }
#endif
    return done == in->n ? large : large | update2_rest(w, in, change, done);
}

/* sums[i] += d x[i] for those of n inputs, n > 0, that are at least `least` (1..128) in magnitude,
 * |d| < 2^15. Returns how many these were. */
static Q8_APART uint32_t q8_axpy_x(int32_t *sums, const int8_t *x, uint32_t n, int32_t d,
                                   int32_t least) {
    const int8_t *const end = x + n;
    uint32_t used = 0;
    do {
        const int32_t v = *x++;
        if (v >= least || v <= -least) {
            *sums += d * v;
            used++;
        }
        sums++;
    } while (x < end);
    return used;
}

#endif
