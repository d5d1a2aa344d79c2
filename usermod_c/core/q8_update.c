/* A step of SGD in integers. A step is the learning rate times the gradient in real units, whatever
 * the row's scale: quantisation-aware scaling (arXiv 2206.15472) follows by itself.
 *
 * A master counts 1/256 of the int8 weight's step. What an update rounds, it rounds up or down by
 * chance, so that small steps count on average; masters share one random number per pair of rows or
 * per row, int8 weights have one each. Rows whose weights grow are halved, and their scale doubled,
 * so that no step can overflow a weight. */
#include "q8.h"

extern inline uint8_t *tinc_q8_weight(const q8_row *row, uint32_t i);
extern inline int32_t tinc_q8_read(const q8_row *row, uint32_t i);
extern inline void tinc_q8_write(const q8_row *row, uint32_t i, int32_t w);

#define MOST_SHIFT 14    /* of a product of two int8 */
#define MOST_STEP 8064   /* of a master in one update: 127 * 127 / 2 */
#define LARGE 96         /* int8 weights from here on make their row be halved */
#define LARGEST_SCALE 15 /* 2^15 */
#define LARGEST_BIAS ((int32_t)1 << 30)

q8_row tinc_q8_row(const tinc_net *net, const tinc_layer *layer, uint32_t index) {
    const uint32_t wide = q8_is_wide(layer) != 0, n = tinc_row_weights(layer);
    q8_row row = {tinc_weights(net, layer), 4u * wide, n, wide};
    if (layer->kind == TINC_DEPTHWISE) { /* n is the channels there */
        row.at += index << wide;
        row.step = n << wide;
        row.n = tinc_weight_rows(layer);
    } else {
        row.at += index / 2u * 4u * (wide ? n : (n + 1u) / 2u) + 2u * (index & 1u);
    }
    return row;
}

/* Returns whether the weight, or the int8 part of the master, came out so large that its row is to
 * be halved. */
static int change_weight(const q8_row *row, uint32_t i, int32_t change) {
    int32_t w = tinc_q8_read(row, i) + change;
    if (change == 0) {
        return 0;
    }
    w = row->wide ? w : q8_clamp(w, 127);
    tinc_q8_write(row, i, w);
    w = row->wide ? (w + 128) >> 8 : w;
    return w < -LARGE || w >= LARGE;
}

/* v * 2^s, within +-limit; bits that fall off count by chance. |v| <= 2^30, noise of 16 bits. */
static int32_t dithered(int32_t v, int s, uint32_t noise, int32_t limit) {
    if (s >= 0) {
        return tinc_q8_shift(v, s, limit);
    }
    const int right = s < -30 ? 30 : -s;
    v = right == -s ? v : tinc_q8_shift(v, s + 30, INT32_MAX);
    noise = right < 16 ? noise >> (16 - right) : noise << (right - 16);
    return q8_clamp((v + (int32_t)noise) >> right, limit);
}

/* The least |x| of an input that counts: rule sampled leaves out what is small beside the largest.
 */
static int32_t least_input(const tinc_state *state, const int8_t *x, uint32_t n) {
    const uint32_t bits = tinc_float_bits(state->input_threshold);
    const int right = 23 - q8_log2(bits);
    if (state->rule != TINC_RULE_SAMPLED || right > 31 || (bits & 0x7FFFFFFFu) == 0) {
        return 1;
    }
    uint32_t largest = 0;
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t magnitude = q8_magnitude(x[i]);
        largest = magnitude > largest ? magnitude : largest;
    }
    const uint32_t product = ((bits & 0x7FFFFFu) | 0x800000u) * largest;
    const int32_t least = (int32_t)((product + (((uint32_t)1 << right) - 1u)) >> right);
    return least > 1 ? least : 1;
}

/* A layer's step at work. */
typedef struct {
    tinc_work *work;
    const tinc_layer *layer;
    const int8_t *x;
    const int32_t *delta;
    uint8_t *weights_at;
    int wide; /* they are masters, else int8 */
    uint32_t *scales;
    int32_t *bias_at; /* NULL where it is not trained */
    uint32_t draw;    /* of the generator: its noise rounds */
    int32_t least;    /* |x| of inputs that count */
    int bias;         /* a gradient times 2^bias counts in the bias, */
    int weights;      /* and times x 2^weights / scale in masters */
} q8_step;

static q8_step step_of(tinc_work *work, uint32_t l) {
    const tinc_net *net = work->net;
    const tinc_layer *layer = &net->layers[l];
    const int rate = q8_log2(tinc_float_bits(net->state->learning_rate));
    const int gradient = tinc_tensor_of(work, l, TINC_DELTA)->exponent + rate;
    q8_step step = {.work = work,
                    .layer = layer,
                    .delta = tinc_place(work, l, TINC_DELTA),
                    .bias_at = layer->flags & TINC_TRAIN_BIAS ? tinc_bias(net, layer) : NULL,
                    .bias = gradient + 20,
                    .weights = gradient + 8};
    if (layer->flags & TINC_TRAIN_WEIGHTS) {
        step.x = tinc_input(work, l);
        step.weights_at = tinc_weights(net, layer);
        step.wide = q8_is_wide(layer);
        step.scales = tinc_scales(net, layer);
        step.draw = tinc_next(net->state);
        step.least = least_input(net->state, step.x, tinc_layer_inputs(net, l));
        step.weights += tinc_q8_input_exponent(work, l);
    }
    return step;
}

static q8_row row_of(const q8_step *step, uint32_t row) {
    return tinc_q8_row(step->work->net, step->layer, row);
}

/* Halve a row and double its scale; the largest scale stays, and the weights are cut instead. */
static void shrink_row(const q8_step *step, uint32_t index) {
    const q8_row row = row_of(step, index);
    uint32_t *scale = &step->scales[index];
    const int may_grow = q8_log2(*scale) < LARGEST_SCALE;
    const int32_t most = row.wide ? LARGE * 256 - 129 : LARGE - 1;
    for (uint32_t i = 0; i < row.n; i++) {
        const int32_t w = tinc_q8_read(&row, i);
        tinc_q8_write(&row, i, may_grow ? (w + 1) >> 1 : q8_clamp(w, most));
    }
    *scale += may_grow ? (uint32_t)1 << 23 : 0;
}

Q8_INLINE int row_exponent(const q8_step *step, uint32_t row) {
    return step->weights - q8_log2(step->scales[row]);
}

/* bias -= gradient 2^s */
Q8_INLINE void change_bias(int32_t *bias, int32_t gradient, int s) {
    const int32_t change = q8_shift(-gradient, s, LARGEST_BIAS);
    const int32_t bound = change > 0 ? LARGEST_BIAS - change : -LARGEST_BIAS - change;
    const int beyond = change > 0 ? *bias > bound : *bias < bound;
    *bias = (beyond ? bound : *bias) + change;
}

/* ---- dense ---- */

/* Int8 weights of a row += d x / 2^(s+8), each rounded by chance. */
static unsigned update_int8(const q8_step *step, uint32_t index, const q8_inputs *in, int32_t d,
                            int s) {
    if (d == 0) {
        return 0;
    }
    const q8_row row = row_of(step, index);
    unsigned large = 0;
    for (uint32_t k = 0; k < in->n; k++) {
        const uint32_t i = in->list != NULL ? in->list[k] : k;
        const uint32_t noise = tinc_noise16(step->draw, index * row.n + i);
        large |= (unsigned)change_weight(&row, i, dithered(d * in->x[i], -s - 8, noise, 127));
    }
    return large;
}

/* The largest shift, at most s, at which a row's gradient becomes a factor of at most 7 bits. */
Q8_INLINE int most_shift(int32_t d, int exponent, int s) {
    const int most = 7 - (int)tinc_bit_length(q8_magnitude(d)) - exponent;
    return most < s ? most : s;
}

/* A pair of rows with these gradients, 0 for a row that is not listed. They become factors of int8
 * that share a shift, so that two products can be had from one. */
static Q8_APART void update_pair(const q8_step *step, uint32_t first, int32_t d0, int32_t d1,
                                 const q8_inputs *in) {
    int exponent0 = 0, exponent1 = 0, s = MOST_SHIFT;
    if (d0 != 0) {
        exponent0 = row_exponent(step, first);
        s = most_shift(d0, exponent0, s);
    }
    if (d1 != 0) {
        exponent1 = row_exponent(step, first + 1u);
        s = most_shift(d1, exponent1, s);
    }
    s = s < 1 ? 1 : s;
    d0 = q8_shift(-d0, exponent0 + s, 127);
    d1 = q8_shift(-d1, exponent1 + s, 127);
    step->work->backward += (d0 != 0 ? in->n : 0) + (d1 != 0 ? in->n : 0);
    unsigned large = 0;
    if (!step->wide) {
        large = update_int8(step, first, in, d0, s);
        large |= update_int8(step, first + 1u, in, d1, s) << 1;
    } else if ((d0 | d1) != 0) {
        uint32_t *pair =
            (uint32_t *)(void *)step->weights_at + first / 2u * step->layer->input_shape[0];
        const q8_change change = {
            {d0, d1}, (uint32_t)s, tinc_noise16(step->draw, first / 2u) >> (16 - s)};
        large = tinc_q8_update_pair(pair, in, &change);
    }
    for (; large != 0; large >>= 1, first++) {
        if (large & 1u) {
            shrink_row(step, first);
        }
    }
}

/* The listed biases, by the gradients of the same numbers. */
static Q8_APART void change_biases(int32_t *bias, const int32_t *gradient, int s,
                                   const uint16_t *list, uint32_t listed) {
    for (const uint16_t *const end = list + listed; list < end; list++) {
        change_bias(&bias[*list], gradient[*list], s);
    }
}

static void update_dense(const q8_step *step, const uint16_t *list, uint32_t listed,
                         uint32_t inputs, int dense, uint16_t *room) {
    const tinc_layer *layer = step->layer;
    const uint16_t *const end = list + listed;
    if (step->bias_at != NULL) {
        change_biases(step->bias_at, step->delta, step->bias, list, listed);
    }
    if (!(layer->flags & TINC_TRAIN_WEIGHTS)) {
        return;
    }
    const uint32_t trained = tinc_trained_channels(layer, layer->input_shape[0]);
    const uint32_t n = inputs < trained ? inputs : trained;
    const int all = dense && n == inputs;
    const uint32_t used = all ? n : tinc_q8_list(step->x, n, step->least, room);
    q8_inputs in = {.x = step->x, .list = room, .n = used};
    if (2u * used > n && step->least == 1) { /* looking up costs more than zeros */
        in.list = NULL;
        in.n = n;
    }
    while (in.n > 0 && list < end) {
        const uint32_t row = *list++, first = row & ~1u;
        int32_t d0 = step->delta[row], d1 = 0;
        if (row != first) {
            d1 = d0;
            d0 = 0;
        } else if (list < end && *list == row + 1u) {
            d1 = step->delta[*list++];
        }
        update_pair(step, first, d0, d1, &in);
    }
}

/* ---- convolutions ---- */

/* Bits that a gradient may have, so that the sum over all positions fits int32. */
static int gradient_bits(const tinc_layer *layer) {
    const uint32_t positions = layer->output_shape[0] * layer->output_shape[1];
    const int bits = 23 - (int)tinc_bit_length(positions - 1u);
    return bits < 15 ? bits : 15;
}

/* Add what one output contributes to the gradient of its row: d times its window. Returns how many
 * inputs counted. */
static uint32_t add_window(const q8_step *step, uint32_t row, tinc_span rows, tinc_span columns,
                           int32_t d, int32_t *gradient) {
    const tinc_layer *layer = step->layer;
    const uint32_t channels = layer->input_shape[2], kernel = layer->kernel[1];
    const uint32_t x_step = layer->input_shape[1] * channels;
    const uint32_t tap = rows.tap * kernel + columns.tap;
    const int8_t *x = step->x + rows.at * x_step + columns.at * channels;
    if (layer->kind == TINC_CONV && layer->update_eighths == 8) { /* a kernel's row at once */
        const q8_block block = {rows.count, columns.count * channels, x_step, kernel * channels};
        return tinc_q8_axpy_x(&block, gradient + tap * channels, x, d, step->least);
    }
    q8_block block = {columns.count, 1, channels, 1};
    if (layer->kind == TINC_CONV) {
        block.n = tinc_trained_channels(layer, channels);
        block.sums_step = channels;
    } else {
        x += row;
    }
    int32_t *to = gradient + tap * block.sums_step;
    uint32_t used = 0;
    for (uint32_t i = 0; i < rows.count; i++) {
        used += tinc_q8_axpy_x(&block, to, x, d, step->least);
        to += kernel * block.sums_step;
        x += x_step;
    }
    return used;
}

/* Sum a row's gradient over all positions; returns the sum of its deltas. */
static int32_t sum_gradient(const q8_step *step, uint32_t row, int with_weights,
                            int32_t *gradient) {
    const tinc_layer *layer = step->layer;
    const uint32_t channels = layer->output_shape[2], width = layer->output_shape[1];
    const int cut = 15 - gradient_bits(layer);
    const int32_t *delta = step->delta + row;
    int32_t sum = 0;
    for (uint32_t y = 0; y < layer->output_shape[0]; y++) {
        const tinc_span rows = tinc_inside(layer, 0, y);
        for (uint32_t x = 0; x < width; x++, delta += channels) {
            if (*delta != 0) {
                sum += *delta;
                const int32_t d = tinc_q8_shift(*delta, -cut, 32767 >> cut);
                if (with_weights && d != 0) {
                    const tinc_span columns = tinc_inside(layer, 1, x);
                    step->work->backward += add_window(step, row, rows, columns, d, gradient);
                }
            }
        }
    }
    return sum;
}

/* One rounding for the whole gradient. */
static void apply_gradient(const q8_step *step, uint32_t index, const int32_t *gradient) {
    const q8_row row = row_of(step, index);
    const int units = row.wide ? 0 : 8;
    const int s = row_exponent(step, index) + 15 - gradient_bits(step->layer) - units;
    int large = 0;
    for (uint32_t i = 0; i < row.n; i++) {
        if (gradient[i] != 0) {
            const uint32_t noise = tinc_noise16(step->draw, row.wide ? index : index * row.n + i);
            const int32_t change = dithered(-gradient[i], s, noise, MOST_STEP >> units);
            large |= change_weight(&row, i, change);
        }
    }
    if (large) {
        shrink_row(step, index);
    }
}

/* From here on, what is not listed is no gradient: rows are then read straight from the tensor. */
static void clear_unlisted(int32_t *delta, uint32_t n, const uint16_t *list, uint32_t listed) {
    for (uint32_t i = 0, k = 0; i < n; i++) {
        if (k < listed && list[k] == i) {
            k++;
        } else {
            delta[i] = 0;
        }
    }
}

static void update_conv(const q8_step *step, int32_t *gradient) {
    const tinc_layer *layer = step->layer;
    const uint32_t rows = layer->output_shape[2];
    const int trains = layer->flags & TINC_TRAIN_WEIGHTS;
    /* of a convolution every row is trained, of a depthwise one only the first channels */
    const uint32_t trained =
        layer->kind == TINC_DEPTHWISE ? tinc_trained_channels(layer, rows) : rows;
    const uint32_t n = trains ? row_of(step, 0).n : 0;
    for (uint32_t row = 0; row < rows; row++) {
        const int with_weights = trains && row < trained;
        for (uint32_t i = n; i-- > 0;) {
            gradient[i] = 0;
        }
        const int32_t sum = sum_gradient(step, row, with_weights, gradient);
        if (with_weights) {
            apply_gradient(step, row, gradient);
        }
        if (step->bias_at != NULL) {
            const uint16_t only = 0;
            change_biases(&step->bias_at[row], &sum, step->bias, &only, 1);
        }
    }
}

void tinc_q8_update(tinc_work *work, uint32_t l, const uint16_t *list, uint32_t listed) {
    const tinc_layer *layer = &work->net->layers[l];
    const q8_step step = step_of(work, l);
    void *room = tinc_backward_room(work, l);
    if (layer->kind == TINC_DENSE) {
        const int dense = step.least == 1 && work->dense >> l & 1u;
        update_dense(&step, list, listed, tinc_layer_inputs(work->net, l), dense, room);
    } else {
        clear_unlisted(tinc_place(work, l, TINC_DELTA), tinc_layer_outputs(layer), list, listed);
        update_conv(&step, room);
    }
}
