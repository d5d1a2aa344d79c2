/* Sums in eight lanes that are added at the end, on every machine: the plain C below, and versions
 * for machines that do several lanes at once. All give the same bits; -DTINYINC_PLAIN selects the
 * plain ones everywhere. Only dense.c includes this. */
#ifndef TINYINC_LANES_H
#define TINYINC_LANES_H

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

static uint32_t dot_fours(float *out, const float *w, const float *x, uint32_t rows, uint32_t n,
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

#else

static uint32_t dot_fours(float *out, const float *w, const float *x, uint32_t rows, uint32_t n,
                          uint32_t stride) {
    (void)out, (void)w, (void)x, (void)rows, (void)n, (void)stride;
    return 0; /* rows done: none, dot() takes them one by one */
}

#endif

#endif
