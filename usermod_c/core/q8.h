/* What the q8 files share: rounding, exponents, the scaling of outputs, inputs and their lists.
 * Integers alone. A gradient is block floating point: real = d * 2^exponent.
 *
 * >> of a negative number is taken to be arithmetic, as every compiler at hand has it. */
#ifndef TINYINC_Q8_H
#define TINYINC_Q8_H

#include "fixed.h"

/* Never a function, for what is done per row; and always one: a loop then keeps what it needs in
 * registers, whatever else its caller has. */
#define Q8_INLINE static inline __attribute__((always_inline))
#define Q8_APART __attribute__((noinline))

/* ---- q8_layers.c: numbers ---- */

/* v / 2^s, rounded to nearest, halves up; s in 1..31. */
static inline int32_t q8_round(int32_t v, unsigned s) {
    const int32_t twice = v >> (s - 1u);
    return twice - (twice >> 1); /* 1 more, halved, but nothing runs over */
}

static inline int32_t q8_clamp(int32_t v, int32_t limit) {
    return v > limit ? limit : (v < -limit ? -limit : v);
}

static inline uint32_t q8_magnitude(int32_t v) {
    return v < 0 ? 0u - (uint32_t)v : (uint32_t)v;
}

/* v * 2^s, rounded as above (more than 31 places as 31), saturated to +-limit. */
int32_t tinc_q8_shift(int32_t v, int s, int32_t limit);

/* The same, without a call where it goes to the right. */
Q8_INLINE int32_t q8_shift(int32_t v, int s, int32_t limit) {
    return s < 0 && s > -32 ? q8_clamp(q8_round(v, (unsigned)-s), limit)
                            : tinc_q8_shift(v, s, limit);
}

/* log2 of a power of two, from its float32 bits. */
static inline int q8_log2(uint32_t bits) {
    return (int)(bits >> 23 & 0xFFu) - 127;
}

/* A scale is mantissa * 2^exponent with a mantissa of 15 bits, whatever float it is. */
static inline int32_t q8_mantissa(uint32_t scale) {
    return (int32_t)((scale >> 9 & 0x3FFFu) | 0x4000u);
}

static inline int q8_exponent(uint32_t scale) {
    return q8_log2(scale) - 14;
}

/* log2 of the step of a layer's input. tinc_q8_run() notes that of its output as the exponent of
 * TINC_VALUES: a step that widens does so from the next sample on. */
int tinc_q8_input_exponent(const tinc_work *work, uint32_t l);

/* Before adding gradients of an exponent to a layer's TINC_DELTA: give that this exponent, or the
 * other way round. Returns by how many places the addends are to be shifted right. */
unsigned tinc_q8_align(tinc_work *work, uint32_t l, int exponent);

static inline int q8_is_wide(const tinc_layer *layer) {
    return layer->weight_type == TINC_WEIGHT_INT16;
}

/* ---- q8_layers.c: outputs ---- */

/* The activation of a layer in steps of its output, and how the way there is scaled. */
typedef struct {
    int32_t low, high;
    int in, out;    /* log2 of the steps */
    unsigned shift; /* the last one */
    uint32_t cut;   /* outputs that did not fit int8 */
    const uint32_t *scales;
    const int32_t *bias;
} q8_activation;

/* From a row's sum to its output, see tinc_q8_scalings(). */
typedef struct {
    int32_t bias;
    uint16_t mantissa;
    int16_t shift;
} q8_scaling;

/* Of n rows from `row` on. */
void tinc_q8_scalings(const q8_activation *activation, uint32_t row, uint32_t n,
                      q8_scaling *scaling);
/* What a ReLU cuts off below is no loss. */
Q8_INLINE int32_t q8_activate(q8_activation *activation, int32_t v) {
    if (v > activation->high) {
        activation->cut++;
        return activation->high;
    }
    if (v < activation->low) {
        activation->cut += activation->low < 0;
        return activation->low;
    }
    return v;
}

/* n sums, each with its scaling, to outputs; these replace the sums where out is NULL. */
void tinc_q8_outputs(q8_activation *activation, const q8_scaling *scaling, int32_t *sums,
                     uint32_t n, int8_t *out);

/* Where a list of outputs, walked in order, is. Of a dense layer: one place, all channels. */
typedef struct {
    uint32_t y, x;
    uint32_t first; /* output there */
} q8_place;

/* Go to the place of an output further on; returns its channel. */
static inline uint32_t q8_walk(q8_place *place, const tinc_layer *layer, uint32_t output) {
    const uint32_t channels = layer->active;
    while (output - place->first >= channels) {
        place->first += channels;
        if (++place->x == layer->output_shape[1]) {
            place->x = 0;
            place->y++;
        }
    }
    return output - place->first;
}

/* ---- q8_kernels.c: sums and rows, for whatever has weights in pairs of rows ---- */

/* The inputs of a dense layer, or what one output of a convolution sees. */
typedef struct {
    const int8_t *x;
    const uint16_t *list; /* the n that count, ascending; NULL: the first n */
    uint32_t n;
    int32_t sum;  /* of the x, when not only large ones count */
    int positive; /* none of them is below 0; 0 also where that is not known */
} q8_inputs;

/* List those of n inputs that are not 0, unless they are more than half of them: then all count.
 * list[n / 2] */
q8_inputs tinc_q8_inputs(const int8_t *x, uint32_t n, uint16_t *list);

/* List those of n inputs that are at least `least` in magnitude; returns how many. list[n] */
uint32_t tinc_q8_list(const int8_t *x, uint32_t n, int32_t least, uint16_t *list);

/* Rows that are done at a time, a multiple of 4. */
#define Q8_ROWS 8

/* Sums over the inputs of n rows from `row` on, a multiple of 4; there is room for as many. */
void tinc_q8_sums(const tinc_layer *layer, const void *weights, uint32_t row, uint32_t n,
                  const q8_inputs *in, int32_t *sums);

/* y[i] += w0 c0 + w1 c1, the weights of a pair of rows from input `from` on, for the listed i or
 * all n. */
void tinc_q8_axpy(const tinc_layer *layer, const void *weights, uint32_t pair, uint32_t from,
                  const uint16_t *list, uint32_t n, const int32_t c[2], int32_t *y);

/* A window's rows, of `n` values each, in an input and in a gradient. */
typedef struct {
    uint32_t rows, n;
    uint32_t x_step, sums_step; /* from row to row */
} q8_block;

/* sums += d x over a block, for the inputs of at least `least` in magnitude; returns how many. */
uint32_t tinc_q8_axpy_x(const q8_block *block, int32_t *sums, const int8_t *x, int32_t d,
                        int32_t least);

/* A change of a pair of rows: of their masters by (d x + round) >> s. */
typedef struct {
    int32_t d[2];
    uint32_t s, round;
} q8_change;

/* Returns a bit per row that is to be halved. */
unsigned tinc_q8_update_pair(uint32_t *weights, const q8_inputs *in, const q8_change *change);

/* ---- q8_update.c: single weights ---- */

/* Where the weights of a row are. Of int8 in pairs, step is 0. */
typedef struct {
    uint8_t *at;
    uint32_t step; /* bytes */
    uint32_t n;
    uint32_t wide; /* 1: masters, 0: int8 */
} q8_row;

q8_row tinc_q8_row(const tinc_net *net, const tinc_layer *layer, uint32_t index);

/* Where a weight lies. These are not static, so that reading and writing one are calls where the
 * compiler looks at size. */
inline __attribute__((always_inline)) uint8_t *tinc_q8_weight(const q8_row *row, uint32_t i) {
    return row->at + (row->step != 0 ? i * row->step : 2u * i - (i & 1u));
}

/* A weight in its own units: a master, or an int8. */
inline int32_t tinc_q8_read(const q8_row *row, uint32_t i) {
    const uint8_t *at = tinc_q8_weight(row, i);
    return row->wide ? *(const tinc_half *)(const void *)at - 32896 : *at - 128;
}

inline void tinc_q8_write(const q8_row *row, uint32_t i, int32_t w) {
    uint8_t *at = tinc_q8_weight(row, i);
    if (row->wide) {
        *(tinc_half *)(void *)at = (uint16_t)(w + 32896);
    } else {
        *at = (uint8_t)(w + 128);
    }
}

/* ---- q8_dense.c ---- */

/* How a layer's listed gradients become factors of int8 for its weights. */
typedef struct {
    const int32_t *delta;
    const uint32_t *scales;
    uint32_t channels;
    int exponent;  /* factor = delta * scale / 2^exponent */
    unsigned rest; /* and this many places less */
} q8_factors;

/* Returns whether there is anything to propagate, having aligned the layer before. */
int tinc_q8_factors(tinc_work *work, uint32_t l, const uint16_t *list, uint32_t listed,
                    q8_factors *factors);
/* The factors of a pair of rows: of the first of the listed outputs, which is in a channel, and of
 * the next where that is in the pair's other row; else 0. Returns how many outputs that were. */
uint32_t tinc_q8_pair(const q8_factors *factors, const uint16_t *list, uint32_t listed,
                      uint32_t channel, int32_t c[2]);

/* ---- the kinds of layers ---- */

void tinc_q8_run_dense(tinc_work *work, uint32_t l, const int8_t *in, void *out,
                       q8_activation *activation);
void tinc_q8_run_conv(tinc_work *work, uint32_t l, const int8_t *in, int8_t *out,
                      const tinc_rows *rows, q8_activation *activation);
void tinc_q8_run_depthwise(tinc_work *work, uint32_t l, const int8_t *in, int8_t *out,
                           const tinc_rows *rows, q8_activation *activation);
void tinc_q8_run_pool(tinc_work *work, uint32_t l, const int8_t *in, int8_t *out,
                      const tinc_rows *rows);
void tinc_q8_run_add(tinc_work *work, uint32_t l, const int8_t *in, int8_t *out,
                     q8_activation *activation);

void tinc_q8_propagate_dense(tinc_work *work, uint32_t l, const uint16_t *list, uint32_t listed,
                             const q8_factors *factors);
void tinc_q8_propagate_conv(tinc_work *work, uint32_t l, const uint16_t *list, uint32_t listed,
                            const q8_factors *factors);
void tinc_q8_propagate_pool(tinc_work *work, uint32_t l);
void tinc_q8_propagate_add(tinc_work *work, uint32_t l);

#endif
