/* Convolutions in integers: a dense layer on patches; and depthwise, one kernel per channel. */
#include "q8.h"

void tinc_q8_run_conv(tinc_work *work, uint32_t l, const int8_t *in, int8_t *out,
                      const tinc_rows *rows, q8_activation *activation) {
    const tinc_layer *layer = &work->net->layers[l];
    const void *weights = tinc_weights(work->net, layer);
    const uint32_t channels = layer->output_shape[2], n = tinc_row_weights(layer);
    const uint32_t row = layer->input_shape[1] * layer->input_shape[2];
    const uint32_t tap_row = layer->kernel[1] * layer->input_shape[2];
    q8_scaling *scalings = tinc_place(work, l, TINC_FORWARD);
    int8_t *patch = (int8_t *)(scalings + channels); /* aligned, for whole words */
    uint16_t *list = (uint16_t *)(void *)(patch + n + (n & 1u));
    tinc_q8_scalings(activation, 0, channels, scalings);
    for (uint32_t y = rows->from; y < rows->to; y++) {
        const tinc_span seen = tinc_inside(layer, 0, y);
        const int8_t *top = in + (seen.at - rows->input_from) * row;
        for (uint32_t i = 0; i < n; i++) {
            patch[i] = 0; /* kernel rows above and below the image stay so */
        }
        for (uint32_t x = 0; x < layer->output_shape[1]; x++) {
            tinc_gather(layer, top, seen.count, x, 1, patch + seen.tap * tap_row);
            const q8_inputs inputs = tinc_q8_inputs(patch, n, list);
            for (uint32_t c = 0; c < channels; c += Q8_ROWS) {
                const uint32_t left = channels - c, n_rows = left < Q8_ROWS ? left : Q8_ROWS;
                int32_t sums[Q8_ROWS];
                tinc_q8_sums(layer, weights, c, n_rows, &inputs, sums);
                tinc_q8_outputs(activation, &scalings[c], sums, n_rows, out + c);
            }
            out += channels;
            work->forward += channels * inputs.n;
        }
    }
}

/* ---- depthwise ---- */

/* Bytes from a depthwise weight to the next, and where its int8 part lies: the upper byte of a
 * master. */
static uint32_t weight_bytes(const tinc_layer *layer) {
    return q8_is_wide(layer) ? 2u : 1u;
}

static const uint8_t *depthwise_weight(const tinc_net *net, const tinc_layer *layer, uint32_t tap,
                                       uint32_t channel) {
    const uint32_t bytes = weight_bytes(layer);
    const uint8_t *weights = tinc_weights(net, layer);
    return weights + (tap * layer->input_shape[2] + channel) * bytes + (bytes - 1u);
}

/* The sum of one channel's window. */
static int32_t window_sum(const tinc_net *net, const tinc_layer *layer, const int8_t *in,
                          tinc_span rows, tinc_span columns, uint32_t channel) {
    const uint32_t channels = layer->input_shape[2], width = layer->input_shape[1];
    const uint32_t step = channels * weight_bytes(layer);
    const uint8_t *w =
        depthwise_weight(net, layer, rows.tap * layer->kernel[1] + columns.tap, channel);
    int32_t sum = 0;
    in += (rows.at * width + columns.at) * channels + channel;
    for (uint32_t row = 0; row < rows.count; row++) {
        for (uint32_t column = 0; column < columns.count; column++) {
            sum += (*w - 128) * *in;
            w += step;
            in += channels;
        }
        w += (layer->kernel[1] - columns.count) * step;
        in += (width - columns.count) * channels;
    }
    return sum;
}

/* A channel at a time, so that it can work in place: the results then wait in a plane until the
 * channel's last input was read. */
void tinc_q8_run_depthwise(tinc_work *work, uint32_t l, const int8_t *in, int8_t *out,
                           const tinc_rows *rows, q8_activation *activation) {
    const tinc_layer *layer = &work->net->layers[l];
    const uint32_t channels = layer->output_shape[2];
    const uint32_t pixels = (rows->to - rows->from) * layer->output_shape[1];
    int8_t *const plane = in == out ? tinc_place(work, l, TINC_FORWARD) : NULL;
    for (uint32_t c = 0; c < channels; c++) {
        q8_scaling scaling;
        tinc_q8_scalings(activation, c, 1, &scaling);
        int8_t *at = plane != NULL ? plane : out + c;
        for (uint32_t y = rows->from; y < rows->to; y++) {
            tinc_span vertical = tinc_inside(layer, 0, y);
            vertical.at -= rows->input_from;
            for (uint32_t x = 0; x < layer->output_shape[1]; x++) {
                const tinc_span horizontal = tinc_inside(layer, 1, x);
                int32_t sum = window_sum(work->net, layer, in, vertical, horizontal, c);
                tinc_q8_outputs(activation, &scaling, &sum, 1, at);
                at += plane != NULL ? 1u : channels;
                work->forward += vertical.count * horizontal.count;
            }
        }
        for (uint32_t i = 0; plane != NULL && i < pixels; i++) {
            out[i * channels + c] = plane[i];
        }
    }
}

/* ---- backward ---- */

/* The weights of a kernel's row lie together, as the inputs under them do; depthwise, those of all
 * channels, of which one counts. */
static void spread(const tinc_net *net, const tinc_layer *layer, tinc_span rows, tinc_span columns,
                   uint32_t channel, const int32_t c[2], int32_t *below) {
    const uint32_t channels = layer->input_shape[2];
    for (uint32_t row = 0; row < rows.count; row++) {
        const uint32_t tap = (rows.tap + row) * layer->kernel[1] + columns.tap;
        const uint32_t pixel = (rows.at + row) * layer->input_shape[1] + columns.at;
        if (layer->kind == TINC_CONV) {
            tinc_q8_axpy(layer, tinc_weights(net, layer), channel / 2u, tap * channels, NULL,
                         columns.count * channels, c, below + pixel * channels);
            continue;
        }
        for (uint32_t column = 0; column < columns.count; column++) {
            below[(pixel + column) * channels + channel] +=
                (*depthwise_weight(net, layer, tap + column, channel) - 128) * c[channel & 1u];
        }
    }
}

void tinc_q8_propagate_conv(tinc_work *work, uint32_t l, const uint16_t *list, uint32_t listed,
                            const q8_factors *factors) {
    const tinc_net *net = work->net;
    const tinc_layer *layer = &net->layers[l];
    const int conv = layer->kind == TINC_CONV;
    int32_t *below = tinc_place(work, l - 1u, TINC_DELTA);
    q8_place place = {0, 0, 0};
    tinc_span rows = {0, 0, 0}, columns = rows;
    uint32_t seen = TINC_NONE;
    while (listed > 0) {
        const uint32_t channel = q8_walk(&place, layer, *list);
        if (place.first != seen) { /* a place has several channels */
            seen = place.first;
            rows = tinc_inside(layer, 0, place.y);
            columns = tinc_inside(layer, 1, place.x);
        }
        int32_t c[2];
        const uint32_t taken = tinc_q8_pair(factors, list, conv ? listed : 1u, channel, c);
        const uint32_t used = (uint32_t)(c[0] != 0) + (c[1] != 0);
        work->backward += used * rows.count * columns.count * (conv ? layer->input_shape[2] : 1u);
        if (used > 0) {
            spread(net, layer, rows, columns, channel, c, below);
        }
        list += taken;
        listed -= taken;
    }
}
