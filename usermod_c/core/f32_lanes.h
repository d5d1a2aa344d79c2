/* NOTE for helpers (to be removed): helper M4F works on this file and on the f32 speed of conv on
 * M4F now; SPEED leaves it alone. */
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

static float dot(const float *restrict a, const float *restrict b, uint32_t n) {
    const uint32_t whole = n - n % LANES;
    const float *const end = a + whole;
    float lane[LANES], rest = 0.0f;
    __asm__ volatile("vmov.f32 s16, %[zero]\n"
                     "vmov.f32 s17, s16\n"
                     "vmov.f32 s18, s16\n"
                     "vmov.f32 s19, s16\n"
                     "vmov.f32 s20, s16\n"
                     "vmov.f32 s21, s16\n"
                     "vmov.f32 s22, s16\n"
                     "vmov.f32 s23, s16\n"
                     "cmp %[a], %[end]\n"
                     "beq 2f\n"
                     "1:\n"
                     "vldmia %[a]!, {s0-s7}\n"
                     "vldmia %[b]!, {s8-s15}\n"
                     "vmul.f32 s0, s0, s8\n"
                     "vmul.f32 s1, s1, s9\n"
                     "vmul.f32 s2, s2, s10\n"
                     "vmul.f32 s3, s3, s11\n"
                     "vmul.f32 s4, s4, s12\n"
                     "vmul.f32 s5, s5, s13\n"
                     "vmul.f32 s6, s6, s14\n"
                     "vmul.f32 s7, s7, s15\n"
                     "vadd.f32 s16, s16, s0\n"
                     "vadd.f32 s17, s17, s1\n"
                     "vadd.f32 s18, s18, s2\n"
                     "vadd.f32 s19, s19, s3\n"
                     "vadd.f32 s20, s20, s4\n"
                     "vadd.f32 s21, s21, s5\n"
                     "vadd.f32 s22, s22, s6\n"
                     "vadd.f32 s23, s23, s7\n"
                     "cmp %[a], %[end]\n"
                     "bne 1b\n"
                     "2:\n"
                     "vstmia %[lane], {s16-s23}\n"
                     : [a] "+r"(a), [b] "+r"(b)
                     : [end] "r"(end), [lane] "r"(lane), [zero] "t"(0.0f)
                     : "cc", "memory", "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9",
                       "s10", "s11", "s12", "s13", "s14", "s15", "s16", "s17", "s18", "s19", "s20",
                       "s21", "s22", "s23");
    for (uint32_t i = 0; i < n - whole; i++) {
        rest += a[i] * b[i];
    }
    return add_lanes(lane) + rest;
}

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

/* Two rows at once: x is read once for both. Their sums of lanes are in s16 and s24. */
static uint32_t dot_together(float *out, const float *w, const float *x, uint32_t rows, uint32_t n,
                             uint32_t stride) {
    const uint32_t whole = n - n % LANES, pairs = rows & ~1u;
    for (uint32_t row = 0; row < pairs; row += 2, out += 2) {
        const float *a = w, *b = w + stride, *at = x, *const end = x + whole;
        __asm__ volatile("vmov d8, %[zero], %[zero]\n"
                         "vmov d9, %[zero], %[zero]\n"
                         "vmov d10, %[zero], %[zero]\n"
                         "vmov d11, %[zero], %[zero]\n"
                         "vmov d12, %[zero], %[zero]\n"
                         "vmov d13, %[zero], %[zero]\n"
                         "vmov d14, %[zero], %[zero]\n"
                         "vmov d15, %[zero], %[zero]\n"
                         "cmp %[at], %[end]\n"
                         "beq 2f\n"
                         "1:\n"
                         "vldmia %[at]!, {s0-s7}\n"
                         "vldmia %[a]!, {s8-s15}\n"
                         "vmul.f32 s8, s8, s0\n"
                         "vmul.f32 s9, s9, s1\n"
                         "vmul.f32 s10, s10, s2\n"
                         "vmul.f32 s11, s11, s3\n"
                         "vmul.f32 s12, s12, s4\n"
                         "vmul.f32 s13, s13, s5\n"
                         "vmul.f32 s14, s14, s6\n"
                         "vmul.f32 s15, s15, s7\n"
                         "vadd.f32 s16, s16, s8\n"
                         "vadd.f32 s17, s17, s9\n"
                         "vadd.f32 s18, s18, s10\n"
                         "vadd.f32 s19, s19, s11\n"
                         "vadd.f32 s20, s20, s12\n"
                         "vadd.f32 s21, s21, s13\n"
                         "vadd.f32 s22, s22, s14\n"
                         "vadd.f32 s23, s23, s15\n"
                         "vldmia %[b]!, {s8-s15}\n"
                         "vmul.f32 s8, s8, s0\n"
                         "vmul.f32 s9, s9, s1\n"
                         "vmul.f32 s10, s10, s2\n"
                         "vmul.f32 s11, s11, s3\n"
                         "vmul.f32 s12, s12, s4\n"
                         "vmul.f32 s13, s13, s5\n"
                         "vmul.f32 s14, s14, s6\n"
                         "vmul.f32 s15, s15, s7\n"
                         "vadd.f32 s24, s24, s8\n"
                         "vadd.f32 s25, s25, s9\n"
                         "vadd.f32 s26, s26, s10\n"
                         "vadd.f32 s27, s27, s11\n"
                         "vadd.f32 s28, s28, s12\n"
                         "vadd.f32 s29, s29, s13\n"
                         "vadd.f32 s30, s30, s14\n"
                         "vadd.f32 s31, s31, s15\n"
                         "cmp %[at], %[end]\n"
                         "bne 1b\n"
                         "2:\n"
                         "vadd.f32 s16, s16, s20\n"
                         "vadd.f32 s18, s18, s22\n"
                         "vadd.f32 s17, s17, s21\n"
                         "vadd.f32 s19, s19, s23\n"
                         "vadd.f32 s16, s16, s18\n"
                         "vadd.f32 s17, s17, s19\n"
                         "vadd.f32 s16, s16, s17\n"
                         "vadd.f32 s24, s24, s28\n"
                         "vadd.f32 s26, s26, s30\n"
                         "vadd.f32 s25, s25, s29\n"
                         "vadd.f32 s27, s27, s31\n"
                         "vadd.f32 s24, s24, s26\n"
                         "vadd.f32 s25, s25, s27\n"
                         "vadd.f32 s24, s24, s25\n"
                         "vstr s16, [%[out]]\n"
                         "vstr s24, [%[out], #4]\n"
                         : [a] "+r"(a), [b] "+r"(b), [at] "+r"(at)
                         : [end] "r"(end), [out] "r"(out), [zero] "r"(0)
                         : "cc", "memory", "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8",
                           "s9", "s10", "s11", "s12", "s13", "s14", "s15", "s16", "s17", "s18",
                           "s19", "s20", "s21", "s22", "s23", "s24", "s25", "s26", "s27", "s28",
                           "s29", "s30", "s31");
        float rest0 = 0.0f, rest1 = 0.0f;
        for (uint32_t i = whole; i < n; i++) {
            rest0 += w[i] * x[i];
            rest1 += w[stride + i] * x[i];
        }
        out[0] += rest0;
        out[1] += rest1;
        w += 2 * (size_t)stride;
    }
    return pairs;
}

static void axpy(float *restrict y, float factor, const float *restrict x, uint32_t n) {
    const uint32_t whole = n - n % LANES;
    const float *const end = x + whole;
    __asm__ volatile("vmov.f32 s16, %[factor]\n"
                     "cmp %[x], %[end]\n"
                     "beq 2f\n"
                     "1:\n"
                     "vldmia %[x]!, {s0-s7}\n"
                     "vldmia %[y], {s8-s15}\n"
                     "vmul.f32 s0, s0, s16\n"
                     "vmul.f32 s1, s1, s16\n"
                     "vmul.f32 s2, s2, s16\n"
                     "vmul.f32 s3, s3, s16\n"
                     "vmul.f32 s4, s4, s16\n"
                     "vmul.f32 s5, s5, s16\n"
                     "vmul.f32 s6, s6, s16\n"
                     "vmul.f32 s7, s7, s16\n"
                     "vadd.f32 s8, s8, s0\n"
                     "vadd.f32 s9, s9, s1\n"
                     "vadd.f32 s10, s10, s2\n"
                     "vadd.f32 s11, s11, s3\n"
                     "vadd.f32 s12, s12, s4\n"
                     "vadd.f32 s13, s13, s5\n"
                     "vadd.f32 s14, s14, s6\n"
                     "vadd.f32 s15, s15, s7\n"
                     "vstmia %[y]!, {s8-s15}\n"
                     "cmp %[x], %[end]\n"
                     "bne 1b\n"
                     "2:\n"
                     : [x] "+r"(x), [y] "+r"(y)
                     : [end] "r"(end), [factor] "t"(factor)
                     : "cc", "memory", "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9",
                       "s10", "s11", "s12", "s13", "s14", "s15", "s16");
    for (uint32_t i = 0; i < n - whole; i++) {
        y[i] += factor * x[i];
    }
}

#else

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

static uint32_t count_fours(const float *x, uint32_t n, uint32_t bits) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < n; i++) {
        count += tinc_magnitude_bits(x[i]) >= bits;
    }
    return count;
}

static void axpy(float *restrict y, float factor, const float *restrict x, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        y[i] += factor * x[i];
    }
}

#endif

#if defined(__SSE2__) && !defined(TINYINC_PLAIN)

/* x86: dot() of four rows at once, in the vector types of GCC and Clang. x is read once for all,
 * and the four sums do not wait for one another. */
#if defined(__AVX__)
#define WIDTH 8
#else
#define WIDTH 4
#endif
typedef float vector __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias));
#define LOAD(from) (*(const vector *)(const void *)(from))

static uint32_t dot_together(float *out, const float *w, const float *x, uint32_t rows, uint32_t n,
                             uint32_t stride) {
    const uint32_t whole = n - n % LANES;
    uint32_t row = 0;
    for (; row + 4 <= rows; row += 4, w += 4 * (size_t)stride) {
        vector lane[4][LANES / WIDTH] = {{{0}}};
        for (uint32_t i = 0; i < whole; i += LANES) {
            for (uint32_t v = 0; v < LANES / WIDTH; v++) {
                const vector values = LOAD(x + i + v * WIDTH);
                for (uint32_t r = 0; r < 4; r++) {
                    lane[r][v] += LOAD(w + r * (size_t)stride + i + v * WIDTH) * values;
                }
            }
        }
        for (uint32_t r = 0; r < 4; r++) {
            float rest = 0.0f;
            for (uint32_t i = whole; i < n; i++) {
                rest += w[r * (size_t)stride + i] * x[i];
            }
            out[row + r] = add_lanes((const float *)lane[r]) + rest;
        }
    }
    return row;
}

#elif !defined(__ARM_FP) || !defined(__thumb2__) || defined(TINYINC_PLAIN)

static uint32_t dot_together(float *out, const float *w, const float *x, uint32_t rows, uint32_t n,
                             uint32_t stride) {
    (void)out, (void)w, (void)x, (void)rows, (void)n, (void)stride;
    return 0; /* rows done: none, dot() takes them one by one */
}

#endif

#endif
