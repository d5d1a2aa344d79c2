/* Kernels on dense layers and on the patches of convolutions: products of a matrix with a vector,
 * and rank-1 updates, in float32. */
#include "f32.h"

#if TINYINC_F32

#include "f32_lanes.h"

/* Bits of the least magnitude that counts. */
static uint32_t least_bits(float least) {
    return least > 0.0f ? tinc_float_bits(least) : 1u;
}

uint32_t tinc_count_inputs(const float *x, uint32_t n, float least) {
    const uint32_t bits = least_bits(least), fours = n & ~3u;
    uint32_t count = count_fours(x, fours, bits);
    for (uint32_t i = fours; i < n; i++) {
        count += tinc_magnitude_bits(x[i]) >= bits;
    }
    return count;
}

uint32_t tinc_list_inputs(const float *x, uint32_t n, float least, uint16_t *list) {
    const uint32_t bits = least_bits(least);
    uint32_t count = 0;
    for (uint32_t i = 0; i < n; i++) {
        list[count] = (uint16_t)i; /* overwritten unless it counts: no branch to mispredict */
        count += tinc_magnitude_bits(x[i]) >= bits;
    }
    return count;
}

float tinc_largest(const float *x, uint32_t n) {
    uint32_t largest = 0;
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t bits = tinc_magnitude_bits(x[i]);
        largest = bits > largest ? bits : largest;
    }
    return tinc_bits_float(largest);
}

int tinc_any_beyond(const float *x, uint32_t n, float bound) {
    const uint32_t most = tinc_float_bits(bound);
    uint32_t beyond = 0, i = 0; /* the sign bit says so */
    for (; i + 4 <= n; i += 4) {
        beyond |= (most - tinc_magnitude_bits(x[i])) | (most - tinc_magnitude_bits(x[i + 1])) |
                  (most - tinc_magnitude_bits(x[i + 2])) | (most - tinc_magnitude_bits(x[i + 3]));
    }
    for (; i < n; i++) {
        beyond |= most - tinc_magnitude_bits(x[i]);
    }
    return beyond >> 31 != 0;
}

void tinc_dense(float *out, const float *w, const float *bias, const float *x, uint32_t rows,
                uint32_t inputs, uint32_t stride) {
    dot_rows(out, w, bias, x, rows, inputs, stride);
}

/* Four rows at once where there are: an index is looked up once for all of them. */
void tinc_dense_listed(float *out, const float *w, const float *bias, const float *x, uint32_t rows,
                       const uint16_t *list, uint32_t listed, uint32_t stride) {
    uint32_t row = 0;
    for (; row + 4 <= rows; row += 4, w += 4 * (size_t)stride) {
        const float *w1 = w + stride, *w2 = w1 + stride, *w3 = w2 + stride;
        float sum = 0.0f, sum1 = 0.0f, sum2 = 0.0f, sum3 = 0.0f;
        for (uint32_t i = 0; i < listed; i++) {
            const uint32_t at = list[i];
            const float value = x[at];
            sum += w[at] * value;
            sum1 += w1[at] * value;
            sum2 += w2[at] * value;
            sum3 += w3[at] * value;
        }
        out[row] = sum + bias[row];
        out[row + 1] = sum1 + bias[row + 1];
        out[row + 2] = sum2 + bias[row + 2];
        out[row + 3] = sum3 + bias[row + 3];
    }
    for (; row < rows; row++, w += stride) {
        float sum = 0.0f;
        for (uint32_t i = 0; i < listed; i++) {
            sum += w[list[i]] * x[list[i]];
        }
        out[row] = sum + bias[row];
    }
}

void tinc_take_larger(float *out, uint8_t *winners, const float *values, uint32_t n, uint32_t tap) {
    if (winners != NULL) {
        take_larger(out, winners, values, n, tap);
        return;
    }
    for (uint32_t c = 0; c < n; c++) {
        out[c] = values[c] > out[c] ? values[c] : out[c];
    }
}

void tinc_axpy(float *restrict y, float a, const float *restrict x, uint32_t n) {
    axpy(y, a, x, n);
}

void tinc_axpy_rows(float *y, uint32_t y_step, const float a[2], const float *const x[2],
                    uint32_t x_step, uint32_t n, uint32_t rows) {
    const float *x0 = x[0], *x1 = x[1];
    for (uint32_t r = 0; r < rows; r++, y += y_step, x0 += x_step, x1 += x_step) {
        axpy_two(y, a, x0, x1, n);
    }
}

void tinc_axpy_units(float *w, uint32_t stride, float a, const float *delta, const uint16_t *list,
                     uint32_t listed, uint32_t first, const float *x, uint32_t n) {
    for (uint32_t i = 0; i < listed; i++) {
        axpy(w + (size_t)(list[i] - first) * stride, a * delta[list[i]], x, n);
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
            axpy(sums, a[row * inner + i], b + i * columns, (uint32_t)columns);
        }
    }
}

#endif
