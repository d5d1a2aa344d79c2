/* Pools and additions in integers. Pools keep the step of their input. */
#include "q8.h"

/* ---- pools ---- */

/* An output pixel of a pool: its window, and where that starts in the input. */
typedef struct {
    const tinc_layer *layer;
    tinc_span rows, columns;
    uint32_t channels, width, pixel;
} q8_window;

static void go_to_row(q8_window *window, const tinc_layer *layer, uint32_t y) {
    window->layer = layer;
    window->rows = tinc_inside(layer, 0, y);
    window->channels = layer->input_shape[2];
    window->width = layer->input_shape[1];
}

static void go_to_pixel(q8_window *window, uint32_t x, uint32_t input_from) {
    window->columns = tinc_inside(window->layer, 1, x);
    window->pixel = (window->rows.at - input_from) * window->width + window->columns.at;
}

static void max_pixel(const q8_window *window, const int8_t *in, int8_t *out, uint8_t *winners) {
    for (uint32_t c = 0; c < window->channels; c++) {
        out[c] = -128;
    }
    for (uint32_t row = 0; row < window->rows.count; row++) {
        const int8_t *x = in + (window->pixel + row * window->width) * window->channels;
        uint32_t tap = (window->rows.tap + row) * window->layer->kernel[1] + window->columns.tap;
        for (uint32_t column = 0; column < window->columns.count; column++, tap++) {
            for (uint32_t c = 0; c < window->channels; c++, x++) {
                if (*x > out[c]) {
                    out[c] = *x;
                    if (winners != NULL) {
                        winners[c] = (uint8_t)tap;
                    }
                }
            }
        }
    }
}

/* 1 / count as mantissa 2^-(14 + bits), with a mantissa of 15 bits. Long division, since not every
 * machine divides. */
typedef struct {
    uint32_t count;
    int32_t mantissa;
    int bits;
} q8_inverse;

static void set_inverse(q8_inverse *inverse, uint32_t count) {
    if (inverse->count == count) {
        return;
    }
    const uint32_t bits = tinc_bit_length(count - 1u);
    uint32_t rest;
    const uint32_t quotient = tinc_divide(0, (uint32_t)1 << (bits + 14u), count, &rest);
    *inverse = (q8_inverse){count, (int32_t)(quotient + (2u * rest >= count)), (int)bits};
}

static void average_pixel(const q8_window *window, const int8_t *in, int8_t *out,
                          q8_inverse *inverse) {
    const uint32_t channels = window->channels;
    set_inverse(inverse, window->rows.count * window->columns.count);
    /* a sum has 7 + bits bits: with at most 16 of them the product fits */
    const int spare = inverse->bits > 9 ? inverse->bits - 9 : 0;
    for (uint32_t c = 0; c < channels; c++) {
        int32_t sum = 0;
        for (uint32_t row = 0; row < window->rows.count; row++) {
            const int8_t *x = in + (window->pixel + row * window->width) * channels + c;
            for (uint32_t column = window->columns.count; column > 0; column--, x += channels) {
                sum += *x;
            }
        }
        sum = spare > 0 ? q8_round(sum, (unsigned)spare) : sum;
        out[c] = (int8_t)tinc_q8_shift(sum * inverse->mantissa, spare - 14 - inverse->bits, 127);
    }
}

void tinc_q8_run_pool(tinc_work *work, uint32_t l, const int8_t *in, int8_t *out,
                      const tinc_rows *rows) {
    const tinc_layer *layer = &work->net->layers[l];
    const uint32_t channels = layer->output_shape[2];
    uint8_t *winners = tinc_place(work, l, TINC_WINNERS);
    q8_inverse inverse = {0, 0, 0};
    for (uint32_t y = rows->from; y < rows->to; y++) {
        q8_window window;
        go_to_row(&window, layer, y);
        for (uint32_t x = 0; x < layer->output_shape[1]; x++, out += channels) {
            go_to_pixel(&window, x, rows->input_from);
            if (layer->kind == TINC_AVERAGE_POOL) {
                average_pixel(&window, in, out, &inverse);
            } else {
                max_pixel(&window, in, out, winners);
                winners = winners != NULL ? winners + channels : NULL;
            }
        }
    }
}

/* Wraps around where absurdly many windows overlap. */
static void add_to(int32_t *sum, int32_t v, unsigned right) {
    v = right > 0 ? tinc_q8_shift(v, -(int)right, INT32_MAX) : v;
    *sum = (int32_t)((uint32_t)*sum + (uint32_t)v);
}

/* The gradient goes to the winner of each window, */
static void pass_to_winners(const q8_window *window, const int32_t *delta, const uint8_t *winner,
                            int32_t *below, unsigned right) {
    const uint32_t kernel = window->layer->kernel[1];
    const uint32_t first = window->rows.tap * kernel + window->columns.tap;
    for (uint32_t c = 0; c < window->channels; c++) {
        if (delta[c] != 0) {
            uint32_t pixel = window->pixel, tap = winner[c] - first;
            while (tap >= kernel) {
                tap -= kernel;
                pixel += window->width;
            }
            add_to(&below[(pixel + tap) * window->channels + c], delta[c], right);
        }
    }
}

#define MOST_GUARD 8 /* bits that a gradient gains, of those it loses when divided */

/* or to all inputs of a window in equal parts. */
static void pass_to_all(const q8_window *window, const int32_t *delta, const q8_inverse *inverse,
                        int guard, int32_t *below, unsigned right) {
    const uint32_t channels = window->channels;
    for (uint32_t c = 0; c < channels; c++) {
        const int32_t part =
            tinc_q8_shift(delta[c] * inverse->mantissa, guard - 14 - inverse->bits, INT32_MAX);
        for (uint32_t row = 0; part != 0 && row < window->rows.count; row++) {
            int32_t *to = below + (window->pixel + row * window->width) * channels + c;
            for (uint32_t n = window->columns.count; n > 0; n--, to += channels) {
                add_to(to, part, right);
            }
        }
    }
}

void tinc_q8_propagate_pool(tinc_work *work, uint32_t l) {
    const tinc_layer *layer = &work->net->layers[l];
    const int32_t *delta = tinc_place(work, l, TINC_DELTA);
    const uint8_t *winner = tinc_place(work, l, TINC_WINNERS);
    int32_t *below = tinc_place(work, l - 1u, TINC_DELTA);
    q8_inverse inverse = {0, 0, 0};
    int guard = 0;
    if (winner == NULL) {
        set_inverse(&inverse, (uint32_t)layer->kernel[0] * layer->kernel[1]);
        guard = inverse.bits < MOST_GUARD ? inverse.bits : MOST_GUARD;
    }
    const unsigned right =
        tinc_q8_align(work, l - 1u, tinc_tensor_of(work, l, TINC_DELTA)->exponent - guard);
    for (uint32_t y = 0; y < layer->output_shape[0]; y++) {
        q8_window window;
        go_to_row(&window, layer, y);
        for (uint32_t x = 0; x < layer->output_shape[1]; x++) {
            go_to_pixel(&window, x, 0);
            if (winner != NULL) {
                pass_to_winners(&window, delta, winner, below, right);
                winner += window.channels;
            } else {
                set_inverse(&inverse, window.rows.count * window.columns.count);
                pass_to_all(&window, delta, &inverse, guard, below, right);
            }
            delta += window.channels;
        }
    }
}

/* ---- additions ---- */

#define SUM_POINT 8 /* places behind the output's step, in which its terms are added */

void tinc_q8_run_add(tinc_work *work, uint32_t l, const int8_t *in, int8_t *out,
                     q8_activation *activation) {
    const tinc_layer *layer = &work->net->layers[l];
    const tinc_tensor *source = tinc_tensor_of(work, layer->source, TINC_VALUES);
    const int8_t *other = tinc_place(work, layer->source, TINC_VALUES);
    const int shift_in = activation->in - activation->out + SUM_POINT;
    const int shift_other = source->exponent - activation->out + SUM_POINT;
    const uint32_t n = tinc_layer_outputs(layer);
    for (uint32_t i = 0; i < n; i++) {
        const int32_t sum = tinc_q8_shift(in[i], shift_in, (int32_t)1 << 29) +
                            tinc_q8_shift(other[i], shift_other, (int32_t)1 << 29);
        out[i] = (int8_t)q8_activate(activation, q8_round(sum, SUM_POINT));
    }
}

static void add_gradient(tinc_work *work, uint32_t from, uint32_t to) {
    const int32_t *delta = tinc_place(work, from, TINC_DELTA);
    int32_t *below = tinc_place(work, to, TINC_DELTA);
    const uint32_t n = tinc_layer_outputs(&work->net->layers[from]);
    if (below == NULL) { /* nothing is trained there */
        return;
    }
    const unsigned right =
        tinc_q8_align(work, to, tinc_tensor_of(work, from, TINC_DELTA)->exponent);
    for (uint32_t i = 0; i < n; i++) {
        add_to(&below[i], delta[i], right);
    }
}

void tinc_q8_propagate_add(tinc_work *work, uint32_t l) {
    add_gradient(work, l, l - 1u);
    add_gradient(work, l, work->net->layers[l].source);
}
