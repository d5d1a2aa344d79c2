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

/* A value of a gradient, float32 or int32 by the network's format, where only its bits matter. */
typedef uint32_t __attribute__((may_alias)) tinc_word;

/* A master of a q8 weight: kernels take two of them as a word. */
typedef uint16_t __attribute__((may_alias)) tinc_half;

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

uint32_t tinc_next(tinc_state *state);

/* The noise of 16 bits for value i that one draw spreads over many: a product of odd numbers mixes
 * well enough for rounding, and no value waits for the one before. */
static inline uint32_t tinc_noise16(uint32_t draw, uint32_t i) {
    return ((draw + i * 0x9E3779B9u) * 0x85EBCA6Bu) >> 16;
}

/* Uniform in [0, 1), exact in float32. */
static inline float tinc_uniform(tinc_state *state) {
    return (float)(tinc_next(state) >> 8) * (1.0f / 16777216.0f);
}

static inline uint32_t tinc_count_up(uint32_t counter) {
    return counter == 0xFFFFFFFFu ? counter : counter + 1u;
}

/* ---- image.c: tensors and tables of an opened network ---- */

#ifndef TINYINC_F32
#define TINYINC_F32 1
#endif

static inline int tinc_is_q8(const tinc_net *net) {
    return !TINYINC_F32 || net->header->format == TINC_Q8;
}

/* Values that a layer gives; of a dense one, its units in use. */
uint32_t tinc_layer_outputs(const tinc_layer *layer);

/* The same at full capacity. */
static inline uint32_t tinc_layer_capacity(const tinc_layer *layer) {
    return layer->output_shape[0] * layer->output_shape[1] * layer->output_shape[2];
}

/* Values that a layer takes. */
uint32_t tinc_layer_inputs(const tinc_net *net, uint32_t layer);

/* Q8: bits of the step of what a layer takes, where none before it was widened; a pool keeps that
 * of its input. */
uint32_t tinc_step_before(const tinc_net *net, uint32_t layer);

static inline int tinc_has_weights(const tinc_layer *layer) {
    return layer->kind <= TINC_DEPTHWISE;
}

/* Rows of the weights: units or output channels. Depthwise: one per tap of the kernel. */
static inline uint32_t tinc_weight_rows(const tinc_layer *layer) {
    return layer->kind == TINC_DENSE       ? layer->output_shape[0]
           : layer->kind == TINC_DEPTHWISE ? (uint32_t)layer->kernel[0] * layer->kernel[1]
                                           : layer->output_shape[2];
}

/* Weights of a row, at capacity: the inputs that one output sees. Depthwise: the channels. */
static inline uint32_t tinc_row_weights(const tinc_layer *layer) {
    return layer->kind == TINC_DENSE ? layer->input_shape[0]
           : layer->kind == TINC_DEPTHWISE
               ? layer->input_shape[2]
               : layer->kernel[0] * layer->kernel[1] * layer->input_shape[2];
}

static inline uint32_t tinc_classes(const tinc_net *net) {
    return net->layers[net->layer_count - 1].active;
}

/* The section that holds a layer's weights and, in q8, their scales. */
static inline uint8_t *tinc_weights_section(const tinc_net *net, const tinc_layer *layer) {
    return net->section[layer->flags & TINC_TRAIN_WEIGHTS ? TINC_TRAINED : TINC_FROZEN];
}

void *tinc_weights(const tinc_net *net, const tinc_layer *layer);

/* Q8: the bits of a float32 per unit. */
uint32_t *tinc_scales(const tinc_net *net, const tinc_layer *layer);

void *tinc_bias(const tinc_net *net, const tinc_layer *layer);

/* Input channels whose weights are trained, the first ones; of a dense layer, inputs. */
static inline uint32_t tinc_trained_channels(const tinc_layer *layer, uint32_t channels) {
    return channels * layer->update_eighths / 8u;
}

/* Q8: how often the step of a layer's output may be doubled. */
#define TINC_MOST_WIDENED 30u

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

uint8_t *tinc_slot_sample(const tinc_net *net, uint32_t slot);

/* Bytes of a slot's sample. */
static inline uint32_t tinc_slot_bytes(const tinc_memory *memory) {
    const uint32_t packed = memory->element_type == TINC_MEMORY_4_BIT;
    return (memory->features + packed) >> packed;
}

/* ---- resize.c ---- */

void tinc_copy(void *to, const void *from, uint32_t bytes);

/* ---- sample.c ---- */

/* Refuse x[n] with a value that is NaN or beyond `most` in magnitude, naming the first. */
int tinc_check_sample(tinc_net *net, const float *x, uint32_t n, float most);

/* ---- plan.c ---- */

/* A call at work: its network, and the scratch as planned. */
typedef struct {
    tinc_net *net;
    uint32_t *busy;
    tinc_tensor *tensors;
    uint8_t *scratch;
    const void *x; /* what layer `from` takes */
    int learning;
    uint32_t from, to; /* the layers that run */
    uint32_t first;    /* the first layer with trained tensors; layers when there is none */
    uint32_t forward;  /* multiply-accumulates done */
    uint32_t backward;
    uint32_t dense; /* q8: a bit per dense layer, that more than half of its inputs are not 0 */
} tinc_work;

/* Plan the scratch for a kind of work, and mark it busy; release with *work->busy = 0. */
int tinc_begin(tinc_net *net, const void *x, int kind, void *scratch, size_t bytes,
               tinc_work *work);

inline __attribute__((always_inline)) tinc_tensor *tinc_tensor_of(const tinc_work *work, uint32_t l,
                                                                  unsigned role) {
    return &work->tensors[l * TINC_ROLES + role];
}

/* The moment at which a layer is differentiated. */
static inline uint32_t tinc_backward_moment(const tinc_net *net, uint32_t l) {
    return 2u * net->layer_count - 1u - l;
}

/* Where a tensor lies, or NULL when there is none. Not static, so that it is a call where the
 * compiler looks at size. */
inline void *tinc_place(const tinc_work *work, uint32_t l, unsigned role) {
    const tinc_tensor *tensor = tinc_tensor_of(work, l, role);
    return tensor->bytes == 0 ? NULL : work->scratch + tensor->offset;
}

/* What a layer takes: x, or the outputs of the layer before. */
const void *tinc_input(const tinc_work *work, uint32_t l);

/* How many elements of a layer's gradient can differ from 0: a max pool behind it passes on one per
 * window. */
uint32_t tinc_most_listed(const tinc_net *net, uint32_t l);

/* Call the layer arithmetic of the network's format: TINC_CALL(net, run(work, l, in, out, rows)).
 */
#if TINYINC_F32
#define TINC_CALL(net, call) (tinc_is_q8(net) ? tinc_q8_##call : tinc_f32_##call)
#else
#define TINC_CALL(net, call) tinc_q8_##call
#endif

/* ---- forward.c: layer after layer ---- */

/* The rows [from, to) of a layer's output are to be computed, row `from` at the start of the output
 * buffer; the input buffer starts with row `input_from` of the input. A dense layer is one row. */
typedef struct {
    uint32_t from, to, input_from;
} tinc_rows;

/* tinc_begin(), and the layers of that kind of work run on x. Returns what the last gives, or NULL
 * with the fault set and the scratch released: also when, in f32, x or a layer has a value that is
 * NaN or beyond 1e30 (with smaller ones no update can make a weight infinite), or, in q8, x has a
 * -128. */
const void *tinc_forward(tinc_net *net, const void *x, int kind, void *scratch, size_t bytes,
                         tinc_work *work);

/* ---- patch.c: what one output of a convolution sees, whatever the format ---- */

/* The part of a kernel that lies inside the image, along one axis: `count` taps from `tap` on, over
 * the input from `at` on. */
typedef struct {
    uint32_t tap, at, count;
} tinc_span;

/* Of the output at `position` along axis 0 (height) or 1 (width). Not static, so that it is a call
 * where the compiler looks at size. */
inline tinc_span tinc_inside(const tinc_layer *layer, unsigned axis, uint32_t position) {
    const uint32_t start = position * layer->stride[axis], padding = layer->padding[axis];
    const uint32_t kernel = layer->kernel[axis], extent = layer->input_shape[axis];
    const uint32_t tap = start < padding ? padding - start : 0;
    const uint32_t at = start + tap - padding;
    if (tap >= kernel || at >= extent) {
        return (tinc_span){0, 0, 0};
    }
    const uint32_t left = kernel - tap, room = extent - at;
    return (tinc_span){tap, at, left < room ? left : room};
}

/* Copy the inputs that output x of a row of outputs sees into patch[rows][kernel width][channels],
 * zeros where the kernel hangs over the edge; a value has `size` bytes (1 or 4). The row sees
 * `rows` rows of the input, which start at `top`: kernel rows above and below the image are left
 * out. */
void tinc_gather(const tinc_layer *layer, const void *top, uint32_t rows, uint32_t x, uint32_t size,
                 void *patch);

/* ---- the layers in float32 (f32_*.c) and in q8 (q8_*.c): the same calls ---- */

/* Run a layer with its activation: rows of out from in. Fills TINC_WINNERS where planned. Counts
 * into work->forward. In f32, a value that is NaN or beyond 1e30 before the activation is recorded
 * as fault TINC_E_DIVERGED. Depthwise with in == out runs in place: a plane of output height x
 * width values for one channel's results then lies at the start of TINC_FORWARD, its own room
 * behind it. */
void tinc_f32_run(tinc_work *work, uint32_t l, const void *in, void *out, const tinc_rows *rows);
void tinc_q8_run(tinc_work *work, uint32_t l, const void *in, void *out, const tinc_rows *rows);

/* A bit per value, the lowest of a byte first: did it pass the layer's activation uncut? */
void tinc_f32_mask(const tinc_work *work, uint32_t l, const void *values, uint8_t *mask);
void tinc_q8_mask(const tinc_work *work, uint32_t l, const void *values, uint8_t *mask);

/* Class probabilities from n logits, and the likeliest class. */
uint32_t tinc_f32_probabilities(const void *logits, uint32_t n, float *probabilities);
uint32_t tinc_q8_probabilities(const void *logits, uint32_t n, float *probabilities);

/* From the logits: figures, and the gradient p - onehot as the last layer's TINC_DELTA, scaled as
 * the rule asks; the onehot smoothed, unless it is a lesson's. Returns whether the sample is to be
 * trained. */
int tinc_f32_loss(tinc_work *work, const void *logits, uint32_t target, int lesson, float *figures);
int tinc_q8_loss(tinc_work *work, const void *logits, uint32_t target, int lesson, float *figures);

/* Make a layer's TINC_DELTA fit for use, after its masked elements were set to 0: f32 cuts that of
 * a hidden layer with weights at +-100; q8 shifts any so that the largest has 15 bits. */
void tinc_f32_settle(tinc_work *work, uint32_t l);
void tinc_q8_settle(tinc_work *work, uint32_t l);

/* How many elements of the gradient to train with; depth counts trained layers from the output. */
uint32_t tinc_f32_k(tinc_work *work, uint32_t l, uint32_t depth);
uint32_t tinc_q8_k(tinc_work *work, uint32_t l, uint32_t depth);

/* Add the gradient at the layer's inputs to the TINC_DELTA of the layer before (and of `source`, if
 * that is planned), from the listed elements of its own; pools and additions take all. A gradient
 * that nothing was added to yet (not live) is all zero. Counts into work->backward. */
void tinc_f32_propagate(tinc_work *work, uint32_t l, const uint16_t *list, uint32_t listed);
void tinc_q8_propagate(tinc_work *work, uint32_t l, const uint16_t *list, uint32_t listed);

/* One step of SGD on the layer's weights and bias. */
void tinc_f32_update(tinc_work *work, uint32_t l, const uint16_t *list, uint32_t listed);
void tinc_q8_update(tinc_work *work, uint32_t l, const uint16_t *list, uint32_t listed);

/* Bytes of TINC_FORWARD and TINC_BACKWARD room that a layer asks for (beside the list of selected
 * elements, which learn.c keeps at the start of TINC_BACKWARD). */
uint32_t tinc_f32_forward_room(const tinc_net *net, uint32_t l);
uint32_t tinc_q8_forward_room(const tinc_net *net, uint32_t l);
uint32_t tinc_f32_backward_room(const tinc_net *net, uint32_t l);
uint32_t tinc_q8_backward_room(const tinc_net *net, uint32_t l);

/* The layer's TINC_BACKWARD room, behind that list (plan.c). */
void *tinc_backward_room(const tinc_work *work, uint32_t l);

/* ---- f32_layers.c: the output in float32 ---- */

/* Turn n logits into probabilities in place; returns log sum exp(logit - largest). */
float tinc_softmax(float *logits, uint32_t n);

/* The index of the largest, the lowest of equals. */
uint32_t tinc_argmax(const float *values, uint32_t n);

/* ---- topk.c ---- */

/* As tinc_topk(), for a gradient in either format, float or settled int32 (15 bits), and faster;
 * the list has room for all elements that are not 0. */
size_t tinc_select(const void *gradient, size_t n, size_t k, uint16_t *list, int integers);

/* ---- f32_dense.c: kernels on one dense layer, float32; w has a row of `stride` per unit ---- */

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

/* ---- f32_rules.c: how much of a step is done ---- */

/* Before the backward pass, with the output's local error Y: the factor for the gradient, or 0 when
 * the sample is left untrained. *probability gets the chance that it had. */
float tinc_f32_admit(tinc_net *net, float error, float *probability);

#endif
