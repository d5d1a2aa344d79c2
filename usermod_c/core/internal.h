/* What the files of the core share; nothing outside the core includes this. */
#ifndef TINYINC_INTERNAL_H
#define TINYINC_INTERNAL_H

#include "tinyinc.h"

/* Record a fault and return its code, so that a check reads `return tinc_fail(...)`. */
int tinc_fail(tinc_net *net, int code, uint32_t where, uint32_t found, uint32_t expected);

static inline uint32_t tinc_float_bits(float x) {
    const union {
        float number;
        uint32_t bits;
    } pun = {x};
    return pun.bits;
}

static inline float tinc_bits_float(uint32_t bits) {
    const union {
        uint32_t bits;
        float number;
    } pun = {bits};
    return pun.number;
}

static inline int tinc_is_finite(float x) {
    return (tinc_float_bits(x) & 0x7F800000u) != 0x7F800000u;
}

/* Magnitudes order as their bits do: comparing integers is quick where floats are emulated. */
static inline uint32_t tinc_magnitude_bits(float x) {
    return tinc_float_bits(x) & 0x7FFFFFFFu;
}

/* NaN becomes low. */
static inline float tinc_clip(float x, float low, float high) {
    return x > low ? (x < high ? x : high) : low;
}

/* The next state of a generator (xorshift32, Marsaglia 2003). */
static inline uint32_t tinc_advance(uint32_t s) {
    s ^= s << 13;
    s ^= s >> 17;
    s ^= s << 5;
    return s;
}

static inline uint32_t tinc_next(tinc_state *state) {
    state->generator = tinc_advance(state->generator);
    return state->generator;
}

/* Byte i of the noise that one draw spreads over many values: a product of odd numbers mixes well
 * enough for rounding, and no value waits for the one before. */
static inline uint32_t tinc_noise(uint32_t draw, uint32_t i) {
    return ((draw + i * 0x9E3779B9u) * 0x85EBCA6Bu) >> 24;
}

/* Uniform in [0, 1), exact in float32. */
static inline float tinc_uniform(tinc_state *state) {
    return (float)(tinc_next(state) >> 8) * (1.0f / 16777216.0f);
}

static inline uint32_t tinc_count_up(uint32_t counter) {
    return counter == 0xFFFFFFFFu ? counter : counter + 1u;
}

/* ---- image.c: tensors and tables of an opened network ---- */

static inline uint32_t tinc_layer_inputs(const tinc_net *net, uint32_t layer) {
    return layer == 0 ? net->inputs : net->layers[layer - 1].active;
}

static inline uint32_t tinc_classes(const tinc_net *net) {
    return net->layers[net->layer_count - 1].active;
}

static inline float *tinc_weights(const tinc_net *net, const tinc_layer *layer) {
    const int section = layer->flags & TINC_TRAIN_WEIGHTS ? TINC_TRAINED : TINC_FROZEN;
    return (float *)(void *)(net->section[section] + layer->weights_offset);
}

static inline float *tinc_bias(const tinc_net *net, const tinc_layer *layer) {
    const int section = layer->flags & TINC_TRAIN_BIAS ? TINC_TRAINED : TINC_FROZEN;
    return (float *)(void *)(net->section[section] + layer->bias_offset);
}

static inline tinc_layer_state *tinc_layer_states(const tinc_net *net) {
    return (tinc_layer_state *)(void *)(net->section[TINC_STATE] + net->state->layers_offset);
}

static inline tinc_class_state *tinc_class_states(const tinc_net *net) {
    return (tinc_class_state *)(void *)(net->section[TINC_STATE] + net->state->classes_offset);
}

static inline uint16_t *tinc_slot_classes(const tinc_net *net) {
    return (uint16_t *)(void *)(net->section[TINC_MEMORY] + net->memory->classes_offset);
}

static inline uint16_t *tinc_slot_weights(const tinc_net *net) {
    return (uint16_t *)(void *)(net->section[TINC_MEMORY] + net->memory->weights_offset);
}

static inline uint8_t *tinc_slot_sample(const tinc_net *net, uint32_t slot) {
    return net->section[TINC_MEMORY] + net->memory->samples_offset + slot * net->memory->stride;
}

/* ---- sample.c ---- */

/* Refuse a sample with a value that is NaN or beyond `most` in magnitude, naming the first. */
int tinc_check_sample(tinc_net *net, const float *x, float most);

/* ---- forward.c: the scratch, and the way forward that infer and learn share ---- */

typedef struct {
    uint32_t *busy;
    float *outputs;     /* of every layer in turn, at capacity; the last are the logits */
    float *delta;       /* gradient at a layer's outputs */
    float *delta_below; /* and at its inputs */
    uint16_t *inputs;   /* indices of the inputs that count */
    uint16_t *rows;     /* indices of the rows that are trained */
} tinc_work;

/* Lay the work areas out in the scratch and mark it busy; release with *work->busy = 0. */
int tinc_begin(tinc_net *net, void *scratch, size_t bytes, tinc_work *work);

/* Run all layers on x, leaving each layer's output in work->outputs. Returns the logits, or NULL
 * with the fault set when x or a layer has a value that is NaN or beyond 1e30: with smaller ones no
 * update can make a weight infinite. Adds to *macs. */
float *tinc_forward(tinc_net *net, const float *x, const tinc_work *work, uint32_t *macs);

/* Turn n logits into probabilities in place; returns log sum exp(logit - largest). */
float tinc_softmax(float *logits, uint32_t n);

uint32_t tinc_argmax(const float *values, uint32_t n);

/* ---- dense.c: kernels on one dense layer, float32; w has a row of `stride` per unit ---- */

/* How many of n values are at least `least` in magnitude and not 0. */
uint32_t tinc_count_inputs(const float *x, uint32_t n, float least);
/* And which; returns how many. */
uint32_t tinc_list_inputs(const float *x, uint32_t n, float least, uint16_t *list);
float tinc_largest(const float *x, uint32_t n);

/* out = W x + bias, over all inputs, or over the listed ones. */
void tinc_dense(float *out, const float *w, const float *bias, const float *x, uint32_t rows,
                uint32_t inputs, uint32_t stride);
void tinc_dense_listed(float *out, const float *w, const float *bias, const float *x, uint32_t rows,
                       const uint16_t *list, uint32_t listed, uint32_t stride);

/* y += a x, over all n values, or over the listed ones. */
void tinc_axpy(float *y, float a, const float *x, uint32_t n);
void tinc_axpy_listed(float *y, float a, const float *x, const uint16_t *list, uint32_t listed);

/* ---- rules.c: how much of a step is done ---- */

/* Before the backward pass, with the output's local error Y: the factor for the gradient, or 0 when
 * the sample is left untrained. *probability gets the chance that it had. */
float tinc_rule_admit(tinc_net *net, float error, float *probability);

/* How many of a layer's units to train; depth counts trained layers from the output, 0 first. */
uint32_t tinc_rule_k(tinc_net *net, uint32_t layer, uint32_t depth, float error);

#endif
