/* Kernels on dense layers: products of a matrix with a vector, and rank-1 updates, in float32.
 *
 * Sums run in eight lanes that are added at the end, on every machine: compilers turn the lanes
 * into vector instructions, and the results do not depend on whether they did. */
#include "internal.h"

#define LANES 8

static inline float add_lanes(const float lane[LANES]) {
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) +
           ((lane[1] + lane[5]) + (lane[3] + lane[7]));
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

#if defined(__SSE2__) && !defined(TINYINC_PLAIN)

/* dot() of four rows at once, in the vector types of GCC and Clang: x is read once for all, and the
 * four sums do not wait for one another. Same lanes, same results. */
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

static float dot_listed(const float *a, const float *b, const uint16_t *list, uint32_t n) {
    float lane[4] = {0}, rest = 0.0f;
    const uint32_t whole = n - n % 4;
    for (uint32_t i = 0; i < whole; i += 4) {
        for (uint32_t l = 0; l < 4; l++) {
            lane[l] += a[list[i + l]] * b[list[i + l]];
        }
    }
    for (uint32_t i = whole; i < n; i++) {
        rest += a[list[i]] * b[list[i]];
    }
    return (lane[0] + lane[2]) + (lane[1] + lane[3]) + rest;
}

uint32_t tinc_count_inputs(const float *x, uint32_t n, float least) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < n; i++) {
        const float size = x[i] < 0.0f ? -x[i] : x[i];
        count += (uint32_t)((size >= least) & (size > 0.0f));
    }
    return count;
}

uint32_t tinc_list_inputs(const float *x, uint32_t n, float least, uint16_t *list) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < n; i++) {
        const float size = x[i] < 0.0f ? -x[i] : x[i];
        list[count] = (uint16_t)i; /* overwritten unless it counts: no branch to mispredict */
        count += (uint32_t)((size >= least) & (size > 0.0f));
    }
    return count;
}

float tinc_largest(const float *x, uint32_t n) {
    uint32_t largest = 0;
    for (uint32_t i = 0; i < n; i++) { /* magnitudes order as their bits do */
        const uint32_t bits = tinc_float_bits(x[i]) & 0x7FFFFFFFu;
        largest = bits > largest ? bits : largest;
    }
    return tinc_bits_float(largest);
}

void tinc_dense(float *out, const float *w, const float *bias, const float *x, uint32_t rows,
                uint32_t inputs, uint32_t stride) {
    for (uint32_t row = dot_fours(out, w, x, rows, inputs, stride); row < rows; row++) {
        out[row] = dot(w + (size_t)row * stride, x, inputs);
    }
    for (uint32_t row = 0; row < rows; row++) {
        out[row] += bias[row];
    }
}

void tinc_dense_listed(float *out, const float *w, const float *bias, const float *x, uint32_t rows,
                       const uint16_t *list, uint32_t listed, uint32_t stride) {
    for (uint32_t row = 0; row < rows; row++) {
        out[row] = dot_listed(w + (size_t)row * stride, x, list, listed) + bias[row];
    }
}

void tinc_axpy(float *restrict y, float a, const float *restrict x, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        y[i] += a * x[i];
    }
}

void tinc_axpy_listed(float *y, float a, const float *x, const uint16_t *list, uint32_t listed) {
    for (uint32_t i = 0; i < listed; i++) {
        y[list[i]] += a * x[list[i]];
    }
}

void tinc_matmul(float *out, const float *a, const float *b, size_t rows, size_t inner,
                 size_t columns) {
    for (size_t row = 0; row < rows; row++) {
        float *sums = out + row * columns;
        for (size_t column = 0; column < columns; column++) {
            sums[column] = 0.0f;
        }
        for (size_t i = 0; i < inner; i++) {
            tinc_axpy(sums, a[row * inner + i], b + i * columns, (uint32_t)columns);
        }
    }
}
