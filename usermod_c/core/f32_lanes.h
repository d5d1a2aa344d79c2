/* Sums in eight lanes that are added at the end, on every machine: the plain C below, and versions
 * for machines that do several lanes at once. All give the same bits; -DTINYINC_PLAIN selects the
 * plain ones everywhere. Only f32_dense.c includes this. */
#ifndef TINYINC_F32_LANES_H
#define TINYINC_F32_LANES_H

#include "internal.h"

#define LANES 8

static inline float add_lanes(const float lane[LANES]) {
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) +
           ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

#if defined(__ARM_FP) && defined(__thumb2__) && !defined(TINYINC_PLAIN)

/* Cortex-M with an FPU: one load instruction for eight values, which compilers do not find. */

#define VALUES s0, s1, s2, s3, s4, s5, s6, s7
#define LANES0 s8, s9, s10, s11, s12, s13, s14, s15
#define LANES1 s16, s17, s18, s19, s20, s21, s22, s23
#define PRODUCTS s24, s25, s26, s27, s28, s29, s30, s31
#define FACTOR1 s24, s24, s24, s24, s24, s24, s24, s24
#define FACTOR s16, s16, s16, s16, s16, s16, s16, s16
/* One operation of two operands on eight registers each. */
#define EIGHT(op, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p)                                  \
    op #a "," #i "\n" op #b "," #j "\n" op #c "," #k "\n" op #d "," #l "\n" op #e "," #m           \
          "\n" op #f "," #n "\n" op #g "," #o "\n" op #h "," #p "\n"
#define TIMES(...) EIGHT("vmul.f32 ", __VA_ARGS__)
#define PLUS(...) EIGHT("vadd.f32 ", __VA_ARGS__)
#define ADD_LANES(...) ADD_EIGHT(__VA_ARGS__)
#define ADD_EIGHT(a, b, c, d, e, f, g, h)                                                          \
    "vadd.f32 " #a "," #e "\nvadd.f32 " #c "," #g "\nvadd.f32 " #b "," #f "\nvadd.f32 " #d "," #h  \
    "\nvadd.f32 " #a "," #c "\nvadd.f32 " #b "," #d "\nvadd.f32 " #a "," #b "\n"
#define CLOBBERED                                                                                  \
    "cc", "memory", "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11",      \
        "s12", "s13", "s14", "s15"

/* How many of n values, a multiple of 4, have at least these bits of magnitude: a comparison leaves
 * in the carry whether one has less, and an addition counts it. */
static uint32_t count_fours(const float *x, uint32_t n, uint32_t bits) {
    const float *const end = x + n;
    uint32_t less = 0;
    __asm__ volatile("cmp %[x], %[end]\n"
                     "beq 2f\n"
                     "1:\n"
                     "ldmia %[x]!, {r3-r6}\n"
                     "cmp %[below], r3, lsl #1\n"
                     "adc %[less], %[less], #0\n"
                     "cmp %[below], r4, lsl #1\n"
                     "adc %[less], %[less], #0\n"
                     "cmp %[below], r5, lsl #1\n"
                     "adc %[less], %[less], #0\n"
                     "cmp %[below], r6, lsl #1\n"
                     "adc %[less], %[less], #0\n"
                     "cmp %[x], %[end]\n"
                     "bne 1b\n"
                     "2:\n"
                     : [x] "+r"(x), [less] "+r"(less)
                     : [end] "r"(end), [below] "r"(2u * bits - 1u)
                     : "cc", "memory", "r3", "r4", "r5", "r6");
    return n - less;
}

/* clang-format off */

/* Pairs of rows, so that x is read once for two. The lanes start with the first eight products: a
 * sum of 0 and these would be the same but for the sign of a zero, which adding the rest takes off.
 */
static __attribute__((noinline)) void dot_pairs(float *out, const float *w, const float *bias,
                                                const float *x, uint32_t pairs, uint32_t n,
                                                uint32_t stride) {
    const float *const end = x + n / LANES * LANES, *at, *w0, *w1;
    uint32_t left;
    __asm__ volatile(
        "1:\n"
        "mov %[at], %[x]\n"
        "mov %[w0], %[w]\n"
        "add %[w1], %[w], %[stride]\n"
        "add %[w], %[w1], %[stride]\n"
        "cmp %[at], %[end]\n"
        "beq 7f\n"
        "vldmia %[at]!, {s0-s7}\n"
        "vldmia %[w0]!, {s8-s15}\n"
        "vldmia %[w1]!, {s16-s23}\n"
        TIMES(LANES0, VALUES) TIMES(LANES1, VALUES)
        "b 3f\n"
        "2:\n"
        "vldmia %[at]!, {s0-s7}\n"
        "vldmia %[w0]!, {s24-s31}\n"
        TIMES(PRODUCTS, VALUES) PLUS(LANES0, PRODUCTS)
        "vldmia %[w1]!, {s24-s31}\n"
        TIMES(PRODUCTS, VALUES) PLUS(LANES1, PRODUCTS)
        "3:\n"
        "cmp %[at], %[end]\n"
        "bne 2b\n"
        ADD_LANES(LANES0) ADD_LANES(LANES1)
        "4:\n"
        "mov %[left], #0\n"
        "vmov s24, %[left]\n"
        "vmov s25, %[left]\n"
        "ands %[left], %[n], #7\n"
        "beq 6f\n"
        "5:\n"
        "vldmia %[at]!, {s0}\n"
        "vldmia %[w0]!, {s1}\n"
        "vldmia %[w1]!, {s2}\n"
        "vmul.f32 s1, s0\n"
        "vmul.f32 s2, s0\n"
        "vadd.f32 s24, s1\n"
        "vadd.f32 s25, s2\n"
        "subs %[left], #1\n"
        "bne 5b\n"
        "6:\n"
        "vldmia %[bias]!, {s0, s1}\n"
        "vadd.f32 s8, s24\n"
        "vadd.f32 s9, s16, s25\n"
        "vadd.f32 s8, s0\n"
        "vadd.f32 s9, s1\n"
        "vstmia %[out]!, {s8, s9}\n"
        "subs %[pairs], #1\n"
        "bne 1b\n"
        "b 8f\n"
        "7:\n"
        "mov %[left], #0\n"
        "vmov s8, %[left]\n"
        "vmov s16, %[left]\n"
        "b 4b\n"
        "8:\n"
        : [out] "+r"(out), [w] "+r"(w), [bias] "+r"(bias), [pairs] "+r"(pairs), [at] "=&r"(at),
          [w0] "=&r"(w0), [w1] "=&r"(w1), [left] "=&r"(left)
        : [x] "r"(x), [end] "r"(end), [n] "r"(n), [stride] "r"(4u * stride)
        : CLOBBERED, "s16", "s17", "s18", "s19", "s20", "s21", "s22", "s23", "s24", "s25", "s26",
          "s27", "s28", "s29", "s30", "s31");
}

static void dot_rows(float *out, const float *w, const float *bias, const float *x, uint32_t rows,
                     uint32_t n, uint32_t stride) {
    if (rows > 1) {
        dot_pairs(out, w, bias, x, rows / 2u, n, stride);
    }
    if (rows % 2u != 0) { /* the last one, twice */
        const uint32_t last = rows - 1u;
        const float biases[2] = {bias[last], bias[last]};
        float sums[2];
        dot_pairs(sums, w + (size_t)last * stride, biases, x, 1, n, 0);
        out[last] = sums[0];
    }
}

static void axpy(float *restrict y, float factor, const float *restrict x, uint32_t n) {
    const float *const end = x + n / LANES * LANES;
    const uint32_t rest = n % LANES;
    __asm__ volatile(
        "vmov.f32 s16, %[factor]\n"
        "cmp %[x], %[end]\n"
        "beq 2f\n"
        "1:\n"
        "vldmia %[x]!, {s0-s7}\n"
        "vldmia %[y], {s8-s15}\n"
        TIMES(VALUES, FACTOR) PLUS(LANES0, VALUES)
        "vstmia %[y]!, {s8-s15}\n"
        "cmp %[x], %[end]\n"
        "bne 1b\n"
        "2:\n"
        : [x] "+r"(x), [y] "+r"(y)
        : [end] "r"(end), [factor] "t"(factor)
        : CLOBBERED, "s16");
    for (uint32_t i = 0; i < rest; i++) {
        y[i] += factor * x[i];
    }
}

/* The same from two sources: y is read and written once. */
static void axpy_two(float *restrict y, const float factors[2], const float *restrict x,
                     const float *restrict x1, uint32_t n) {
    const float factor = factors[0], factor1 = factors[1];
    const float *const end = x + n / LANES * LANES;
    const uint32_t rest = n % LANES;
    __asm__ volatile(
        "vmov.f32 s16, %[factor]\n"
        "vmov.f32 s24, %[factor1]\n"
        "b 2f\n"
        "1:\n"
        "vldmia %[y], {s8-s15}\n"
        "vldmia %[x]!, {s0-s7}\n"
        TIMES(VALUES, FACTOR) PLUS(LANES0, VALUES)
        "vldmia %[x1]!, {s0-s7}\n"
        TIMES(VALUES, FACTOR1) PLUS(LANES0, VALUES)
        "vstmia %[y]!, {s8-s15}\n"
        "2:\n"
        "cmp %[x], %[end]\n"
        "bne 1b\n"
        : [x] "+r"(x), [x1] "+r"(x1), [y] "+r"(y)
        : [end] "r"(end), [factor] "t"(factor), [factor1] "t"(factor1)
        : CLOBBERED, "s16", "s24");
    for (uint32_t i = 0; i < rest; i++) {
        y[i] = (y[i] + factor * x[i]) + factor1 * x1[i];
    }
}

/* clang-format on */

#else

static uint32_t count_fours(const float *x, uint32_t n, uint32_t bits) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < n; i++) {
        count += tinc_magnitude_bits(x[i]) >= bits;
    }
    return count;
}

static float dot(const float *restrict a, const float *restrict b, uint32_t n) {
    float lane[LANES] = {0}, rest = 0.0f;
    const uint32_t whole = n - n % LANES;
    for (uint32_t i = 0; i < whole; i += LANES) {
        for (uint32_t l = 0; l < LANES; l++) {
            lane[l] += a[i + l] * b[i + l];
        }
    }
    for (uint32_t i = whole; i < n; i++) {
        rest += a[i] * b[i];
    }
    return add_lanes(lane) + rest;
}

static void axpy(float *restrict y, float factor, const float *restrict x, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        y[i] += factor * x[i];
    }
}

static void axpy_two(float *restrict y, const float factors[2], const float *restrict x,
                     const float *restrict x1, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        y[i] = (y[i] + factors[0] * x[i]) + factors[1] * x1[i];
    }
}

#if defined(__SSE2__) && !defined(TINYINC_PLAIN)

/* x86: dot() of four rows at once, in the vector types of GCC and Clang. x is read once for all,
 * and the four sums do not wait for one another. */
#if defined(__AVX__)
#define WIDTH 8
#else
#define WIDTH 4
#endif
typedef float vector __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias));
typedef float four __attribute__((vector_size(16), aligned(4), may_alias));
#define LOAD(from) (*(const vector *)(const void *)(from))

/* add_lanes() of four rows: sums of halves, of quarters and of neighbours. */
static inline four add_fours(const vector lane[4][LANES / WIDTH]) {
    four half[4];
    for (uint32_t r = 0; r < 4; r++) {
#if WIDTH == 8
        const vector v = lane[r][0];
        half[r] = (four){v[0], v[1], v[2], v[3]} + (four){v[4], v[5], v[6], v[7]};
#else
        half[r] = lane[r][0] + lane[r][1];
#endif
    }
    const four a = half[0], b = half[1], c = half[2], d = half[3];
    const four ab = (four){a[0], a[1], b[0], b[1]} + (four){a[2], a[3], b[2], b[3]};
    const four cd = (four){c[0], c[1], d[0], d[1]} + (four){c[2], c[3], d[2], d[3]};
    return (four){ab[0], ab[2], cd[0], cd[2]} + (four){ab[1], ab[3], cd[1], cd[3]};
}

/* take_larger() for the first channels, as many as it returns. */
typedef int32_t ints __attribute__((vector_size(4 * WIDTH)));
typedef int8_t bytes __attribute__((vector_size(WIDTH), aligned(1), may_alias));

static uint32_t take_larger_vectors(float *out, uint8_t *winners, const float *values, uint32_t n,
                                    uint32_t tap) {
    uint32_t c = 0;
    for (; c + WIDTH <= n; c += WIDTH) {
        const vector value = LOAD(values + c), old = LOAD(out + c);
        const ints larger = value > old;
        const bytes won = __builtin_convertvector(larger, bytes);
        bytes *noted = (bytes *)(void *)(winners + c);
        *(vector *)(void *)(out + c) = (vector)(((ints)value & larger) | ((ints)old & ~larger));
        *noted = ((int8_t)tap & won) | (*noted & ~won);
    }
    return c;
}

static uint32_t dot_fours(float *out, const float *w, const float *bias, const float *x,
                          uint32_t rows, uint32_t n, uint32_t stride) {
    const uint32_t whole = n - n % LANES;
    uint32_t row = 0;
    for (; row + 4 <= rows; row += 4, w += 4 * (size_t)stride) {
        const float *w1 = w + stride, *w2 = w1 + stride, *w3 = w2 + stride;
        vector lane[4][LANES / WIDTH] = {{{0}}};
        for (uint32_t i = 0; i < whole; i += LANES) {
            for (uint32_t v = 0, at = i; v < LANES / WIDTH; v++, at += WIDTH) {
                const vector values = LOAD(x + at);
                lane[0][v] += LOAD(w + at) * values;
                lane[1][v] += LOAD(w1 + at) * values;
                lane[2][v] += LOAD(w2 + at) * values;
                lane[3][v] += LOAD(w3 + at) * values;
            }
        }
        four rest = {0};
        for (uint32_t i = whole; i < n; i++) {
            rest += (four){w[i], w1[i], w2[i], w3[i]} * x[i];
        }
        *(four *)(void *)(out + row) =
            add_fours(lane) + rest + *(const four *)(const void *)(bias + row);
    }
    return row; /* rows done */
}

#endif

static void dot_rows(float *out, const float *w, const float *bias, const float *x, uint32_t rows,
                     uint32_t n, uint32_t stride) {
    uint32_t row = 0;
#if defined(__SSE2__) && !defined(TINYINC_PLAIN)
    row = dot_fours(out, w, bias, x, rows, n, stride);
#endif
    for (; row < rows; row++) {
        out[row] = dot(w + (size_t)row * stride, x, n) + bias[row];
    }
}

#endif

/* out = the larger of out and values; `winners` note the tap where that is the latter. */
static void take_larger(float *restrict out, uint8_t *restrict winners,
                        const float *restrict values, uint32_t n, uint32_t tap) {
    uint32_t c = 0;
#if defined(__SSE2__) && !defined(TINYINC_PLAIN)
    c = take_larger_vectors(out, winners, values, n, tap);
#endif
    for (; c < n; c++) {
        if (values[c] > out[c]) {
            out[c] = values[c];
            winners[c] = (uint8_t)tap;
        }
    }
}

#endif
