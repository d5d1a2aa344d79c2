/* Pools and the residual addition in float32: layers without weights. Padding belongs to no window.
 */
#include "f32.h"

#if TINYINC_F32

/* ---- max ---- */

/* Put the first value of a window in for all channels; `winners`, where there are, note its tap. */
static void take_first(float *out, uint8_t *winners, const float *values, uint32_t channels,
                       uint32_t tap) {
    for (uint32_t c = 0; c < channels; c++) {
        out[c] = values[c];
    }
    for (uint32_t c = 0; winners != NULL && c < channels; c++) {
        winners[c] = (uint8_t)tap;
    }
}

static void largest_of(const tinc_layer *layer, const float *in, float *out, uint8_t *winners,
                       tinc_span rows, tinc_span columns) {
    const uint32_t channels = layer->input_shape[2];
    for (uint32_t ky = 0; ky < rows.count; ky++) {
        const float *x = in + ((rows.at + ky) * layer->input_shape[1] + columns.at) * channels;
        const uint32_t tap = (rows.tap + ky) * layer->kernel[1] + columns.tap;
        for (uint32_t kx = 0; kx < columns.count; kx++) {
            if (ky == 0 && kx == 0) {
                take_first(out, winners, x, channels, tap);
            } else {
                tinc_take_larger(out, winners, x + kx * channels, channels, tap + kx);
            }
        }
    }
}

void tinc_f32_max_pool(tinc_work *work, uint32_t l, const float *in, float *out,
                       const tinc_rows *rows) {
    const tinc_layer *layer = &work->net->layers[l];
    const uint32_t width = layer->output_shape[1], channels = layer->output_shape[2];
    uint8_t *winners = tinc_place(work, l, TINC_WINNERS);
    for (uint32_t y = rows->from; y < rows->to; y++) {
        tinc_span window = tinc_inside(layer, 0, y);
        window.at -= rows->input_from;
        for (uint32_t x = 0; x < width; x++, out += channels) {
            uint8_t *noted = winners == NULL ? NULL : winners + (y * width + x) * channels;
            largest_of(layer, in, out, noted, window, tinc_inside(layer, 1, x));
        }
    }
}

/* The gradient of a window goes to its winner. Winner / kernel width without a division, exact for
 * one byte by another. */
void tinc_f32_max_pool_propagate(tinc_work *work, uint32_t l) {
    const tinc_layer *layer = &work->net->layers[l];
    const uint32_t width = layer->input_shape[1], channels = layer->input_shape[2];
    const uint32_t row = width * channels, inverse = 65535u / layer->kernel[1] + 1u;
    const uint32_t next_row = row - layer->kernel[1] * channels; /* beyond what the taps count */
    const float *delta = tinc_place(work, l, TINC_DELTA);
    const uint8_t *winners = tinc_place(work, l, TINC_WINNERS);
    float *below = tinc_place(work, l - 1, TINC_DELTA);
    for (uint32_t y = 0; y < layer->output_shape[0]; y++) {
        const uint32_t top = y * layer->stride[0] - layer->padding[0]; /* may wrap around */
        for (uint32_t x = 0; x < layer->output_shape[1]; x++) {
            const uint32_t left = x * layer->stride[1] - layer->padding[1];
            const uint32_t first = (top * width + left) * channels;
            for (uint32_t c = 0; c < channels; c++, delta++, winners++) {
                const uint32_t tap = *winners, kernel_row = tap * inverse >> 16;
                below[first + c + tap * channels + kernel_row * next_row] += *delta;
            }
        }
    }
}

/* ---- average ---- */

void tinc_f32_average_pool(tinc_work *work, uint32_t l, const float *in, float *out,
                           const tinc_rows *rows) {
    const tinc_layer *layer = &work->net->layers[l];
    const uint32_t width = layer->input_shape[1], channels = layer->input_shape[2];
    for (uint32_t y = rows->from; y < rows->to; y++) {
        const tinc_span down = tinc_inside(layer, 0, y);
        const float *top = in + (down.at - rows->input_from) * width * channels;
        for (uint32_t x = 0; x < layer->output_shape[1]; x++, out += channels) {
            const tinc_span across = tinc_inside(layer, 1, x);
            const float share = 1.0f / (float)(down.count * across.count);
            const float *window = top + across.at * channels;
            for (uint32_t c = 0; c < channels; c++) {
                out[c] = 0.0f;
            }
            for (uint32_t ky = 0; ky < down.count; ky++) {
                for (uint32_t kx = 0; kx < across.count; kx++) {
                    tinc_axpy(out, share, window + (ky * width + kx) * channels, channels);
                }
            }
        }
    }
}

void tinc_f32_average_pool_propagate(tinc_work *work, uint32_t l) {
    const tinc_layer *layer = &work->net->layers[l];
    const uint32_t width = layer->input_shape[1], channels = layer->input_shape[2];
    const float *delta = tinc_place(work, l, TINC_DELTA);
    float *below = tinc_place(work, l - 1, TINC_DELTA);
    for (uint32_t y = 0; y < layer->output_shape[0]; y++) {
        const tinc_span down = tinc_inside(layer, 0, y);
        for (uint32_t x = 0; x < layer->output_shape[1]; x++, delta += channels) {
            const tinc_span across = tinc_inside(layer, 1, x);
            const float share = 1.0f / (float)(down.count * across.count);
            float *window = below + (down.at * width + across.at) * channels;
            for (uint32_t ky = 0; ky < down.count; ky++) {
                for (uint32_t kx = 0; kx < across.count; kx++) {
                    tinc_axpy(window + (ky * width + kx) * channels, share, delta, channels);
                }
            }
        }
    }
}

/* ---- addition ---- */

void tinc_f32_add(tinc_work *work, uint32_t l, const float *in, float *out) {
    const tinc_layer *layer = &work->net->layers[l];
    const uint32_t n = tinc_layer_outputs(layer);
    const float *source = tinc_place(work, layer->source, TINC_VALUES);
    for (uint32_t i = 0; i < n; i++) {
        out[i] = in[i] + source[i];
    }
}

void tinc_f32_add_propagate(tinc_work *work, uint32_t l) {
    const tinc_layer *layer = &work->net->layers[l];
    const uint32_t n = tinc_layer_outputs(layer);
    const float *delta = tinc_place(work, l, TINC_DELTA);
    float *source = tinc_place(work, layer->source, TINC_DELTA);
    tinc_axpy(tinc_place(work, l - 1, TINC_DELTA), 1.0f, delta, n);
    if (source != NULL) {
        tinc_axpy(source, 1.0f, delta, n);
    }
}

#endif
