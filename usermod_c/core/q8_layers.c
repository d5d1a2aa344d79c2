/* The layers in integers: which file runs which, what they ask of the scratch, and the arithmetic
 * of outputs and gradients that all of them share. */
#include "q8.h"

/* ---- numbers ---- */

int32_t tinc_q8_shift(int32_t v, int s, int32_t limit) {
    if (s < 0) {
        v = q8_round(v, s < -31 ? 31u : (unsigned)-s);
    } else if (v != 0 && (s > 30 || q8_magnitude(v) > (uint32_t)limit >> s)) {
        return v < 0 ? -limit : limit;
    } else if (s <= 30) {
        v = (int32_t)((uint32_t)v << s);
    }
    return q8_clamp(v, limit);
}

/* ---- outputs ---- */

int tinc_q8_input_exponent(const tinc_work *work, uint32_t l) {
    return l == work->from ? q8_log2(tinc_step_before(work->net, l))
                           : tinc_tensor_of(work, l - 1, TINC_VALUES)->exponent;
}

static int output_exponent(const tinc_work *work, uint32_t l) {
    const tinc_layer *layer = &work->net->layers[l];
    if (layer->kind == TINC_MAX_POOL || layer->kind == TINC_AVERAGE_POOL) {
        return tinc_q8_input_exponent(work, l);
    }
    const int widened = (int)tinc_layer_states(work->net)[l].widened;
    if (l + 1 == work->net->layer_count) { /* 16 bits of Q10, and wider ones in larger steps */
        return -10 + (widened < 14 ? widened : 14);
    }
    return q8_log2(tinc_float_bits(layer->output_step)) + widened;
}

/* 6 in steps of 2^exponent, at most 127. */
static int32_t relu6_limit(int exponent) {
    return exponent > 0 ? 6 >> (exponent < 3 ? exponent : 3) : tinc_q8_shift(6, -exponent, 127);
}

static void begin(const tinc_work *work, uint32_t l, q8_activation *activation) {
    const tinc_layer *layer = &work->net->layers[l];
    const uint8_t kind = layer->activation;
    activation->scales = tinc_scales(work->net, layer);
    activation->bias = tinc_bias(work->net, layer);
    activation->in = tinc_q8_input_exponent(work, l);
    activation->out = output_exponent(work, l);
    activation->cut = 0;
    activation->shift = 21; /* one bit above int8: a bias below 0 may bring it back */
    activation->high = kind == TINC_RELU6 ? relu6_limit(activation->out) : 127;
    activation->low = kind == TINC_LINEAR ? -127 : 0;
    if (l + 1 == work->net->layer_count) { /* logits: more bits */
        activation->shift = 14;
        activation->high = 32767;
        activation->low = -32767;
    }
}

/* Note the step of the output, and widen it for the next sample where too much was cut. */
static void end(tinc_work *work, uint32_t l, const q8_activation *activation) {
    const tinc_layer *layer = &work->net->layers[l];
    const uint8_t both = TINC_TRAIN_WEIGHTS | TINC_TRAIN_BIAS;
    tinc_tensor_of(work, l, TINC_VALUES)->exponent = (int16_t)activation->out;
    if (work->learning && (layer->flags & both) == both && activation->high >= 127 &&
        activation->cut > tinc_layer_outputs(layer) >> 7) {
        tinc_layer_state *state = &tinc_layer_states(work->net)[l];
        state->widened += state->widened < TINC_MOST_WIDENED;
    }
}

/* With scale = m 2^e: out = (sum 2^-shift m + bias) 2^-last, rounded by half in the bias, so that a
 * product has 30 bits. */
void tinc_q8_scalings(const q8_activation *activation, uint32_t row, uint32_t n,
                      q8_scaling *scaling) {
    const int last = (int)activation->shift, left = last - 20 - activation->out;
    const int32_t limit = last == 21 ? (int32_t)1 << 29 : ((int32_t)1 << 30) - ((int32_t)1 << 22);
    const int32_t most =
        left > 0 ? limit >> left : limit; /* steps are at least 2^-24: no bit is lost */
    const int32_t half = (int32_t)1 << (last - 1);
    const int shift = activation->out - activation->in - last;
    const uint32_t *scale = activation->scales + row;
    const int32_t *bias = activation->bias + row;
    for (q8_scaling *const end = scaling + n; scaling < end; scaling++) {
        const uint32_t bits = *scale++;
        scaling->mantissa = (uint16_t)q8_mantissa(bits);
        scaling->shift = (int16_t)(shift - q8_exponent(bits));
        scaling->bias = half + (left > 0 ? q8_clamp(*bias++, most) * (1 << left)
                                         : tinc_q8_shift(*bias++, left, limit));
    }
}

void tinc_q8_outputs(q8_activation *activation, const q8_scaling *scaling, int32_t *sums,
                     uint32_t n, int8_t *out) {
    const unsigned last = activation->shift;
    const q8_scaling *const end = scaling + n;
    for (; scaling < end; scaling++, sums++) {
        const int shift = scaling->shift;
        const int32_t t = shift > 0 && shift < 32
                              ? q8_clamp(q8_round(*sums, (unsigned)shift), 32767)
                              : tinc_q8_shift(*sums, -shift, 32767);
        const int32_t v = q8_activate(activation, (t * scaling->mantissa + scaling->bias) >> last);
        if (out != NULL) {
            *out++ = (int8_t)v;
        } else {
            *sums = v;
        }
    }
}

/* ---- the calls of the engine: forward ---- */

void tinc_q8_run(tinc_work *work, uint32_t l, const void *in, void *out, const tinc_rows *rows) {
    const uint8_t kind = work->net->layers[l].kind;
    q8_activation activation;
    begin(work, l, &activation);
    if (kind == TINC_DENSE) {
        tinc_q8_run_dense(work, l, in, out, &activation);
    } else if (kind == TINC_CONV) {
        tinc_q8_run_conv(work, l, in, out, rows, &activation);
    } else if (kind == TINC_DEPTHWISE) {
        tinc_q8_run_depthwise(work, l, in, out, rows, &activation);
    } else if (kind == TINC_ADD) {
        tinc_q8_run_add(work, l, in, out, &activation);
    } else {
        tinc_q8_run_pool(work, l, in, out, rows);
    }
    end(work, l, &activation);
}

void tinc_q8_mask(const tinc_work *work, uint32_t l, const void *values, uint8_t *mask) {
    const tinc_layer *layer = &work->net->layers[l];
    const int8_t *v = values;
    const uint32_t n = tinc_layer_outputs(layer);
    int32_t low = 1, high = 127; /* what passed; none where 6 is no more than a step */
    if (layer->activation == TINC_LINEAR) {
        low = -127;
    } else if (layer->activation == TINC_RELU6) { /* where int8 ends before 6, none was cut */
        const int32_t limit = relu6_limit(tinc_tensor_of(work, l, TINC_VALUES)->exponent);
        high = limit < 127 ? limit - 1 : 127;
    }
    const uint32_t passing = (uint32_t)(high - low + 1);
    for (uint32_t i = 0; i < n; i += 8) {
        const uint32_t end = n - i < 8 ? n - i : 8;
        unsigned bits = 0;
        for (uint32_t b = 0; b < end; b++) {
            bits |= (unsigned)((uint32_t)(v[i + b] - low) < passing) << b;
        }
        mask[i / 8u] = (uint8_t)bits;
    }
}

/* ---- gradients ---- */

void tinc_q8_settle(tinc_work *work, uint32_t l) {
    tinc_tensor *tensor = tinc_tensor_of(work, l, TINC_DELTA);
    int32_t *delta = tinc_place(work, l, TINC_DELTA);
    const uint32_t n = tinc_layer_outputs(&work->net->layers[l]);
    uint32_t all = 0;
    for (uint32_t i = 0; i < n; i++) {
        all |= q8_magnitude(delta[i]);
    }
    const int shift = 15 - (int)tinc_bit_length(all);
    if (all == 0 || shift == 0) {
        return;
    }
    tensor->exponent = (int16_t)(tensor->exponent - shift);
    for (uint32_t i = 0; i < n; i++) { /* rounding up must not make a bit more */
        delta[i] = shift > 0 ? delta[i] * (1 << shift) : tinc_q8_shift(delta[i], shift, 32767);
    }
}

static void shift_all(int32_t *delta, uint32_t n, int s) {
    for (uint32_t i = 0; s != 0 && i < n; i++) {
        if (delta[i] != 0) {
            delta[i] = tinc_q8_shift(delta[i], s, INT32_MAX);
        }
    }
}

static int all_zero(const int32_t *delta, uint32_t n) {
    while (n > 0 && delta[n - 1u] == 0) {
        n--;
    }
    return n == 0;
}

#define MOST_LEFT 14 /* 15 bits shifted so far leave room for what is added */

unsigned tinc_q8_align(tinc_work *work, uint32_t l, int exponent) {
    tinc_tensor *tensor = tinc_tensor_of(work, l, TINC_DELTA);
    int32_t *delta = tinc_place(work, l, TINC_DELTA);
    const uint32_t n = tinc_layer_outputs(&work->net->layers[l]);
    if (!tensor->live || all_zero(delta, n)) {
        tensor->exponent = (int16_t)exponent;
        tensor->live = 1;
        return 0;
    }
    tinc_q8_settle(work, l);
    const int left = tensor->exponent - exponent;
    const int done = left < MOST_LEFT ? left : MOST_LEFT;
    shift_all(delta, n, done);
    tensor->exponent = (int16_t)(tensor->exponent - done);
    return (unsigned)(left - done);
}

/* ---- the calls of the engine: backward ---- */

void tinc_q8_propagate(tinc_work *work, uint32_t l, const uint16_t *list, uint32_t listed) {
    const uint8_t kind = work->net->layers[l].kind;
    q8_factors factors;
    if (kind == TINC_MAX_POOL || kind == TINC_AVERAGE_POOL) {
        tinc_q8_propagate_pool(work, l);
    } else if (kind == TINC_ADD) {
        tinc_q8_propagate_add(work, l);
    } else if (tinc_q8_factors(work, l, list, listed, &factors)) {
        if (kind == TINC_DENSE) {
            tinc_q8_propagate_dense(work, l, list, listed, &factors);
        } else {
            tinc_q8_propagate_conv(work, l, list, listed, &factors);
        }
    }
}

/* ---- what they ask of the scratch ---- */

uint32_t tinc_q8_forward_room(const tinc_net *net, uint32_t l) {
    const tinc_layer *layer = &net->layers[l];
    const uint32_t n = tinc_row_weights(layer);
    if (layer->kind == TINC_DENSE) { /* a list of at most half the inputs */
        return n & ~1u;
    }
    if (layer->kind == TINC_CONV) { /* scalings, a patch, a list */
        return (uint32_t)sizeof(q8_scaling) * layer->output_shape[2] + 2u * n;
    }
    return 0;
}

uint32_t tinc_q8_backward_room(const tinc_net *net, uint32_t l) {
    const tinc_layer *layer = &net->layers[l];
    if (layer->kind == TINC_DENSE) { /* a list of inputs */
        return 2u * layer->input_shape[0];
    }
    if (layer->kind > TINC_DEPTHWISE || !(layer->flags & TINC_TRAIN_WEIGHTS)) {
        return 0;
    }
    /* the gradient of one row */
    const uint32_t taps = (uint32_t)layer->kernel[0] * layer->kernel[1];
    return 4u * taps * (layer->kind == TINC_CONV ? layer->input_shape[2] : 1u);
}
