/* Convolution in float32: the dense kernels on one patch of the input after another; and depthwise
 * convolution, one kernel per channel. The backward pass goes from position to position that has
 * elements listed, and touches what these saw alone. */
#include "f32.h"

#if TINYINC_F32

/* The elements [from, to) of the list are those of output (y, x), whose first one is `first`;
 * `rows` are those of the input that row y sees. */
typedef struct {
    uint32_t y, x, first, from, to;
    tinc_span rows;
} position;

/* Go on to the next position that has listed elements; start with zeros. Returns 0 at the end. */
static int next_position(position *at, const tinc_layer *layer, const uint16_t *list,
                         uint32_t listed) {
    const uint32_t channels = layer->output_shape[2], width = layer->output_shape[1];
    uint32_t to = at->to, x = at->x, y = at->y, next = at->first + channels;
    at->from = to;
    if (to == listed) {
        return 0;
    }
    for (; list[to] >= next; next += channels) {
        if (++x == width) {
            x = 0;
            y++;
        }
    }
    if (y != at->y || to == 0) {
        at->rows = tinc_inside(layer, 0, y);
    }
    do {
        to++;
    } while (to < listed && list[to] < next);
    at->first = next - channels;
    at->to = to;
    at->x = x;
    at->y = y;
    return 1;
}

/* A kernel of one pixel sees its patch where it lies. */
static int sees_one_pixel(const tinc_layer *layer) {
    return layer->kernel[0] * layer->kernel[1] == 1 &&
           (layer->padding[0] | layer->padding[1] | layer->padding[2] | layer->padding[3]) == 0;
}

/* What output x of a row sees, from the first of its kernel rows inside the image on: copied into
 * `patch`, or where it lies. The rows that it sees start at `top`. */
static const float *see(const tinc_layer *layer, const float *top, uint32_t rows, uint32_t x,
                        float *patch) {
    if (sees_one_pixel(layer)) {
        return top + x * layer->stride[1] * layer->input_shape[2];
    }
    tinc_gather(layer, top, rows, x, 4, patch);
    return patch;
}

/* Is it worth while to look for patches that are mostly zeros? Only among inputs with a quarter of
 * zeros or more: these are counted once, and those of patches for every patch that has them. */
static int has_zeros(const float *in, uint32_t n) {
    return 4u * tinc_count_inputs(in, n, 0.0f) <= 3u * n;
}

void tinc_f32_conv(tinc_work *work, uint32_t l, const float *in, float *out,
                   const tinc_rows *rows) {
    const tinc_layer *layer = &work->net->layers[l];
    const float *weights = tinc_weights(work->net, layer), *bias = tinc_bias(work->net, layer);
    const uint32_t stride = tinc_row_weights(layer), channels = layer->output_shape[2];
    const uint32_t row = layer->input_shape[1] * layer->input_shape[2];
    const uint32_t tap_row = layer->kernel[1] * layer->input_shape[2];
    float *room = tinc_place(work, l, TINC_FORWARD);
    uint16_t *list = (uint16_t *)(void *)(room + stride);
    for (uint32_t y = rows->from; y < rows->to; y++) {
        const tinc_span seen = tinc_inside(layer, 0, y);
        const float *w = weights + seen.tap * tap_row,
                    *top = in + (seen.at - rows->input_from) * row;
        const uint32_t inputs = seen.count * tap_row;
        const int look = has_zeros(top, seen.count * row);
        for (uint32_t x = 0; x < layer->output_shape[1]; x++, out += channels) {
            const float *patch = see(layer, top, seen.count, x, room);
            uint32_t used = look ? tinc_count_inputs(patch, inputs, 0.0f) : inputs;
            if (2u * used <= inputs) {
                tinc_list_inputs(patch, inputs, 0.0f, list);
                tinc_dense_listed(out, w, bias, patch, channels, list, used, stride);
            } else {
                used = inputs;
                tinc_dense(out, w, bias, patch, channels, inputs, stride);
            }
            work->forward += channels * used;
        }
    }
}

/* Every listed element adds its row of weights to the gradient of what it saw (col2im). */
void tinc_f32_conv_propagate(tinc_work *work, uint32_t l, const uint16_t *list, uint32_t listed) {
    const tinc_layer *layer = &work->net->layers[l];
    const float *w = tinc_weights(work->net, layer), *delta = tinc_place(work, l, TINC_DELTA);
    const uint32_t inputs = tinc_row_weights(layer), channels = layer->input_shape[2];
    const uint32_t row = layer->input_shape[1] * channels, tap_row = layer->kernel[1] * channels;
    float *below = tinc_place(work, l - 1, TINC_DELTA);
    position at = {0, 0, 0, 0, 0, {0, 0, 0}};
    while (next_position(&at, layer, list, listed)) {
        const tinc_span rows = at.rows, columns = tinc_inside(layer, 1, at.x);
        const float *weights = w + rows.tap * tap_row + columns.tap * channels;
        float *seen = below + rows.at * row + columns.at * channels;
        const uint32_t run = columns.count * channels;
        uint32_t i = at.from;
        for (; i + 2 <= at.to; i += 2) {
            const float factors[2] = {delta[list[i]], delta[list[i + 1]]};
            const float *const both[2] = {weights + (list[i] - at.first) * inputs,
                                          weights + (list[i + 1] - at.first) * inputs};
            tinc_axpy_rows(seen, row, factors, both, tap_row, run, rows.count);
        }
        if (i < at.to) {
            const float *one = weights + (list[i] - at.first) * inputs;
            for (uint32_t r = 0; r < rows.count; r++) {
                tinc_axpy(seen + r * row, delta[list[i]], one + r * tap_row, run);
            }
        }
        work->backward += (at.to - at.from) * rows.count * columns.count * channels;
    }
}

/* List the inputs of a patch that count and lie in the first `trained` of its channels. */
static uint32_t list_trained(const float *patch, uint32_t inputs, uint32_t channels,
                             uint32_t trained, float least, uint16_t *list) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < inputs; i += channels) {
        const uint32_t found = tinc_list_inputs(patch + i, trained, least, list + count);
        for (const uint32_t end = count + found; count < end; count++) {
            list[count] = (uint16_t)(list[count] + i);
        }
    }
    return count;
}

/* The listed elements of a position add to the biases of their channels, where these are trained.
 */
static inline void update_bias(float *bias, float rate, const float *delta, const uint16_t *list,
                               const position *at) {
    for (uint32_t i = at->from; bias != NULL && i < at->to; i++) {
        bias[list[i] - at->first] += rate * delta[list[i]];
    }
}

void tinc_f32_conv_update(tinc_work *work, uint32_t l, const uint16_t *list, uint32_t listed) {
    const tinc_layer *layer = &work->net->layers[l];
    const float *in = tinc_f32_kept_input(work, l), *delta = tinc_place(work, l, TINC_DELTA);
    const uint32_t stride = tinc_row_weights(layer), channels = layer->input_shape[2];
    const uint32_t row = layer->input_shape[1] * channels, tap_row = layer->kernel[1] * channels;
    const uint32_t trained = tinc_trained_channels(layer, channels);
    const int listing = trained < channels || work->net->state->rule == TINC_RULE_SAMPLED;
    const int trains = layer->flags & TINC_TRAIN_WEIGHTS;
    const int look = trains && !listing && has_zeros(in, tinc_layer_inputs(work->net, l));
    const float rate = -work->net->state->learning_rate;
    const float least = trains ? tinc_f32_least_input(work, l, in) : 0.0f;
    float *bias = layer->flags & TINC_TRAIN_BIAS ? tinc_bias(work->net, layer) : NULL;
    float *w = tinc_weights(work->net, layer), *room = tinc_backward_room(work, l);
    uint16_t *counting = (uint16_t *)(void *)(room + stride);
    position at = {0, 0, 0, 0, 0, {0, 0, 0}};
    while (next_position(&at, layer, list, listed)) {
        update_bias(bias, rate, delta, list, &at);
        if (!trains) {
            continue;
        }
        const float *patch = see(layer, in + at.rows.at * row, at.rows.count, at.x, room);
        float *seeing = w + at.rows.tap * tap_row;
        const uint32_t inputs = at.rows.count * tap_row;
        uint32_t used = inputs;
        if (listing || (look && 2u * tinc_count_inputs(patch, inputs, 0.0f) <= inputs)) {
            used = trained < channels
                       ? list_trained(patch, inputs, channels, trained, least, counting)
                       : tinc_list_inputs(patch, inputs, least, counting);
        }
        if (used == inputs) {
            tinc_axpy_units(seeing, stride, rate, delta, list + at.from, at.to - at.from, at.first,
                            patch, inputs);
        }
        for (uint32_t i = at.from; used < inputs && i < at.to; i++) {
            float *weights = seeing + (list[i] - at.first) * stride;
            tinc_axpy_listed(weights, rate * delta[list[i]], patch, counting, used);
        }
        work->backward += (at.to - at.from) * used;
    }
}

/* ---- depthwise ---- */

/* All channels at once: y += a b, value by value. */
static void multiply_add(float *restrict y, const float *restrict a, const float *restrict b,
                         uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        y[i] += a[i] * b[i];
    }
}

/* One output of one channel; in and w are those of the channel, and `channels` apart. */
static float depthwise_output(const tinc_layer *layer, const float *in, const float *w, float sum,
                              tinc_span rows, tinc_span columns) {
    const uint32_t channels = layer->input_shape[2];
    for (uint32_t ky = 0; ky < rows.count; ky++) {
        const float *x = in + ((rows.at + ky) * layer->input_shape[1] + columns.at) * channels;
        const float *taps = w + ((rows.tap + ky) * layer->kernel[1] + columns.tap) * channels;
        for (uint32_t kx = 0; kx < columns.count; kx++) {
            sum += taps[kx * channels] * x[kx * channels];
        }
    }
    return sum;
}

/* In place, a channel at a time: its results wait in a plane of their own until all are there. */
static void depthwise_in_place(const tinc_work *work, uint32_t l, float *values) {
    const tinc_layer *layer = &work->net->layers[l];
    const float *w = tinc_weights(work->net, layer), *bias = tinc_bias(work->net, layer);
    const uint32_t height = layer->output_shape[0], width = layer->output_shape[1];
    const uint32_t channels = layer->output_shape[2];
    float *plane = tinc_place(work, l, TINC_FORWARD);
    for (uint32_t c = 0; c < channels; c++) {
        for (uint32_t y = 0; y < height; y++) {
            const tinc_span rows = tinc_inside(layer, 0, y);
            for (uint32_t x = 0; x < width; x++) {
                plane[y * width + x] = depthwise_output(layer, values + c, w + c, bias[c], rows,
                                                        tinc_inside(layer, 1, x));
            }
        }
        for (uint32_t i = 0; i < height * width; i++) {
            values[i * channels + c] = plane[i];
        }
    }
}

/* Adds in the same order as in place, so that both give the same bits. */
static void depthwise_pixel(const tinc_work *work, uint32_t l, const float *in, float *out,
                            tinc_span rows, tinc_span columns) {
    const tinc_layer *layer = &work->net->layers[l];
    const float *w = tinc_weights(work->net, layer), *bias = tinc_bias(work->net, layer);
    const uint32_t channels = layer->output_shape[2];
    for (uint32_t c = 0; c < channels; c++) {
        out[c] = bias[c];
    }
    for (uint32_t ky = 0; ky < rows.count; ky++) {
        const float *x = in + ((rows.at + ky) * layer->input_shape[1] + columns.at) * channels;
        const float *taps = w + ((rows.tap + ky) * layer->kernel[1] + columns.tap) * channels;
        for (uint32_t kx = 0; kx < columns.count; kx++) {
            multiply_add(out, taps + kx * channels, x + kx * channels, channels);
        }
    }
}

void tinc_f32_depthwise(tinc_work *work, uint32_t l, const float *in, float *out,
                        const tinc_rows *rows) {
    const tinc_layer *layer = &work->net->layers[l];
    const uint32_t width = layer->output_shape[1], channels = layer->output_shape[2];
    const int in_place = in == out;
    if (in_place) {
        depthwise_in_place(work, l, out);
    }
    for (uint32_t y = rows->from; y < rows->to; y++) {
        tinc_span down = tinc_inside(layer, 0, y);
        down.at -= rows->input_from;
        for (uint32_t x = 0; x < width; x++, out += channels) {
            const tinc_span across = tinc_inside(layer, 1, x);
            work->forward += down.count * across.count * channels;
            if (!in_place) {
                depthwise_pixel(work, l, in, out, down, across);
            }
        }
    }
}

void tinc_f32_depthwise_propagate(tinc_work *work, uint32_t l, const uint16_t *list,
                                  uint32_t listed) {
    const tinc_layer *layer = &work->net->layers[l];
    const float *w = tinc_weights(work->net, layer), *delta = tinc_place(work, l, TINC_DELTA);
    const uint32_t channels = layer->input_shape[2];
    float *below = tinc_place(work, l - 1, TINC_DELTA);
    position at = {0, 0, 0, 0, 0, {0, 0, 0}};
    while (next_position(&at, layer, list, listed)) {
        const tinc_span rows = at.rows, columns = tinc_inside(layer, 1, at.x);
        for (uint32_t i = at.from; i < at.to; i++) {
            const float d = delta[list[i]];
            for (uint32_t ky = 0; ky < rows.count; ky++) {
                const uint32_t pixel = (rows.at + ky) * layer->input_shape[1] + columns.at;
                const uint32_t tap = (rows.tap + ky) * layer->kernel[1] + columns.tap;
                float *y = below + pixel * channels + (list[i] - at.first);
                const float *weights = w + tap * channels + (list[i] - at.first);
                for (uint32_t kx = 0; kx < columns.count; kx++) {
                    y[kx * channels] += d * weights[kx * channels];
                }
            }
        }
        work->backward += (at.to - at.from) * rows.count * columns.count;
    }
}

void tinc_f32_depthwise_update(tinc_work *work, uint32_t l, const uint16_t *list, uint32_t listed) {
    const tinc_layer *layer = &work->net->layers[l];
    const float *in = tinc_f32_kept_input(work, l), *delta = tinc_place(work, l, TINC_DELTA);
    const uint32_t channels = layer->input_shape[2];
    const uint32_t updated =
        layer->flags & TINC_TRAIN_WEIGHTS ? tinc_trained_channels(layer, channels) : 0;
    const float rate = -work->net->state->learning_rate;
    const float least = updated > 0 ? tinc_f32_least_input(work, l, in) : 0.0f;
    float *bias = layer->flags & TINC_TRAIN_BIAS ? tinc_bias(work->net, layer) : NULL;
    float *w = tinc_weights(work->net, layer);
    position at = {0, 0, 0, 0, 0, {0, 0, 0}};
    while (next_position(&at, layer, list, listed)) {
        update_bias(bias, rate, delta, list, &at);
        const tinc_span rows = at.rows, columns = tinc_inside(layer, 1, at.x);
        for (uint32_t i = at.from; i < at.to && list[i] - at.first < updated; i++) {
            const float step = rate * delta[list[i]];
            for (uint32_t ky = 0; ky < rows.count; ky++) {
                const uint32_t pixel = (rows.at + ky) * layer->input_shape[1] + columns.at;
                const uint32_t tap = (rows.tap + ky) * layer->kernel[1] + columns.tap;
                const float *x = in + pixel * channels + (list[i] - at.first);
                float *weights = w + tap * channels + (list[i] - at.first);
                for (uint32_t kx = 0; kx < columns.count; kx++) {
                    if (tinc_count_inputs(x + kx * channels, 1, least)) {
                        weights[kx * channels] += step * x[kx * channels];
                        work->backward++;
                    }
                }
            }
        }
    }
}

#endif
