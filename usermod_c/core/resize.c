/* Capacity in use: units and classes come and go within what the image has room for. */
#include "fixed.h"

/* Only dense layers change, the first `layers` of them, and hidden ones when another dense one
 * follows. Who writes a layer's rows and the next one's columns asks for what is trained. */
static int check_layer(tinc_net *net, uint32_t l, uint32_t layers, uint32_t trained) {
    const tinc_layer *layer = &net->layers[l];
    if (l >= layers || layer->kind != TINC_DENSE || trained & ~(uint32_t)layer->flags ||
        (l + 1 < net->layer_count && (layer[1].kind != TINC_DENSE ||
                                      trained & ~(uint32_t)layer[1].flags & TINC_TRAIN_WEIGHTS))) {
        return tinc_fail(net, TINC_E_LAYER, l, l, layers);
    }
    return TINC_OK;
}

static int check_writable(tinc_net *net, uint32_t l) {
    return check_layer(net, l, net->layer_count, TINC_TRAIN_WEIGHTS | TINC_TRAIN_BIAS);
}

#if TINYINC_F32

static float *row_of(const tinc_net *net, uint32_t l, uint32_t unit) {
    const tinc_layer *layer = &net->layers[l];
    return (float *)tinc_weights(net, layer) + (size_t)unit * layer->input_shape[0];
}

static float draw(tinc_net *net, float bound) {
    return (2.0f * tinc_uniform(net->state) - 1.0f) * bound;
}

static float he_bound(uint32_t inputs) {
    return tinc_rsqrt((float)inputs * (1.0f / 6.0f));
}

/* `units` is what the layer will have when it has grown. */
static void f32_add_unit(tinc_net *net, uint32_t l, uint32_t units) {
    const uint32_t unit = net->layers[l].active, inputs = tinc_layer_inputs(net, l);
    const int last = l + 1 == net->layer_count;
    float *row = row_of(net, l, unit), *bias = tinc_bias(net, &net->layers[l]);
    for (uint32_t i = 0; i < inputs; i++) {
        row[i] = last ? 0.0f : draw(net, he_bound(inputs));
    }
    bias[unit] = 0.0f;
    for (uint32_t r = 0; !last && r < net->layers[l + 1].active; r++) {
        row_of(net, l + 1, r)[unit] = draw(net, 0.5f * he_bound(units));
    }
}

static void f32_move_unit(tinc_net *net, uint32_t l, uint32_t to, uint32_t from) {
    const float *source = row_of(net, l, from);
    float *row = row_of(net, l, to), *bias = tinc_bias(net, &net->layers[l]);
    const uint32_t inputs = tinc_layer_inputs(net, l);
    for (uint32_t i = 0; i < inputs; i++) {
        row[i] = source[i];
    }
    bias[to] = bias[from];
    for (uint32_t r = 0; l + 1 < net->layer_count && r < net->layers[l + 1].active; r++) {
        float *column = row_of(net, l + 1, r);
        column[to] = column[from];
    }
}

static float magnitude(float x) {
    return x < 0.0f ? -x : x;
}

static int f32_least_useful(const tinc_net *net, uint32_t l, uint32_t over) {
    const uint32_t inputs = tinc_layer_inputs(net, l);
    const float *bias = tinc_bias(net, &net->layers[l]);
    uint32_t least = 0;
    float least_use = 0.0f, most_use = 0.0f;
    for (uint32_t unit = 0; unit < net->layers[l].active; unit++) {
        const float *row = row_of(net, l, unit);
        float incoming = magnitude(bias[unit]), outgoing = 0.0f;
        for (uint32_t i = 0; i < inputs; i++) {
            incoming += magnitude(row[i]);
        }
        for (uint32_t r = 0; r < net->layers[l + 1].active; r++) {
            outgoing += magnitude(row_of(net, l + 1, r)[unit]);
        }
        const float use = incoming * outgoing;
        if (unit == 0 || use < least_use) {
            least = unit;
            least_use = use;
        }
        most_use = use > most_use ? use : most_use;
    }
    return least_use * (float)over > most_use ? TINC_E_UNIT : (int)least;
}

#endif

/* ---- q8 ---- */

#define MASTER_POINT 8 /* bits of a weight behind the point */
#define BIAS_POINT 20
#define MASTER_ZERO 32896
#define INT8_ZERO 128
#define MOST_MASTER (95 << MASTER_POINT) /* in size: further out a row is halved */

/* Where the weight of a row for input i lies: rows in pairs, and int8 inputs as well. */
static uint8_t *weight_at(const tinc_net *net, const tinc_layer *layer, uint32_t row, uint32_t i) {
    const uint32_t int8 = layer->weight_type == TINC_WEIGHT_INT8;
    const uint32_t words = (layer->input_shape[0] + int8) >> int8; /* of a pair of rows */
    const uint32_t word = (row >> 1) * words + (i >> int8);
    return (uint8_t *)tinc_weights(net, layer) + 4u * word + 2u * (row & 1u) + (i & int8);
}

/* A weight in steps of its row's scale, with MASTER_POINT bits behind the point. */
static int32_t read_weight(const tinc_net *net, const tinc_layer *layer, uint32_t row, uint32_t i) {
    const uint8_t *at = weight_at(net, layer, row, i);
    return layer->weight_type == TINC_WEIGHT_INT16
               ? *(const tinc_half *)(const void *)at - MASTER_ZERO
               : (*at - INT8_ZERO) * (1 << MASTER_POINT);
}

static void write_weight(const tinc_net *net, const tinc_layer *layer, uint32_t row, uint32_t i,
                         int32_t weight) {
    uint8_t *at = weight_at(net, layer, row, i);
    if (layer->weight_type == TINC_WEIGHT_INT16) {
        *(tinc_half *)(void *)at = (uint16_t)(weight + MASTER_ZERO);
    } else {
        const int32_t half = 1 << (MASTER_POINT - 1);
        *at = (uint8_t)(((weight + half) >> MASTER_POINT) + INT8_ZERO);
    }
}

#define LOG2_6 169408 /* with 16 bits behind the point */
#define LOG2_47_5 365026

/* log2 sqrt(6 / inputs), with 16 bits behind the point; where there are none yet, as for one. */
static int32_t log_he_bound(uint32_t inputs) {
    return (LOG2_6 - tinc_bits_log2(tinc_bits_of(inputs > 0 ? inputs : 1u, 0))) >> 1;
}

/* A bound 2^log in a row's weights, at most what they can hold. */
static uint32_t weight_bound(int32_t log, int32_t scale) {
    const int32_t doublings = log - scale * 65536; /* of one step */
    if (doublings > 7 * 65536) {
        return MOST_MASTER;
    }
    const tinc_bits bound = tinc_bits_exp2((uint32_t)(7 * 65536 - doublings) << 9);
    const uint32_t weight = tinc_bits_fixed(bound, MASTER_POINT + 7);
    return weight < MOST_MASTER ? weight : MOST_MASTER;
}

static int32_t draw_weight(tinc_net *net, uint32_t bound) {
    return (int32_t)tinc_multiply_high(tinc_next(net->state), 2u * bound + 1u) - (int32_t)bound;
}

/* As f32_add_unit(); the scale makes the bound of the incoming weights 47.5 to 95 steps. */
static void q8_add_unit(tinc_net *net, uint32_t l, uint32_t units) {
    const tinc_layer *layer = &net->layers[l], *next = layer + 1;
    const uint32_t unit = layer->active, inputs = tinc_layer_inputs(net, l);
    const int last = l + 1 == net->layer_count;
    const int32_t incoming = log_he_bound(inputs), outgoing = log_he_bound(units) - 65536;
    const int32_t scale = (incoming - LOG2_47_5) >> 16;
    const uint32_t bound = weight_bound(incoming, scale);
    int32_t *bias = tinc_bias(net, layer);
    tinc_scales(net, layer)[unit] = (uint32_t)(scale + 127) << 23;
    bias[unit] = 0;
    for (uint32_t i = 0; i < inputs; i++) {
        write_weight(net, layer, unit, i, last ? 0 : draw_weight(net, bound));
    }
    for (uint32_t r = 0; !last && r < next->active; r++) {
        const uint32_t row_bound =
            weight_bound(outgoing, tinc_bits_exponent(tinc_scales(net, next)[r]));
        write_weight(net, next, r, unit, draw_weight(net, row_bound));
    }
}

/* What it leaves behind is zero: rows and inputs lie in pairs. */
static void q8_move_unit(tinc_net *net, uint32_t l, uint32_t to, uint32_t from) {
    const tinc_layer *layer = &net->layers[l], *next = layer + 1;
    uint32_t *scales = tinc_scales(net, layer);
    int32_t *bias = tinc_bias(net, layer);
    const uint32_t inputs = tinc_layer_inputs(net, l);
    scales[to] = scales[from];
    bias[to] = bias[from];
    for (uint32_t i = 0; i < inputs; i++) {
        write_weight(net, layer, to, i, read_weight(net, layer, from, i));
        write_weight(net, layer, from, i, 0);
    }
    for (uint32_t r = 0; l + 1 < net->layer_count && r < next->active; r++) {
        write_weight(net, next, r, to, read_weight(net, next, r, from));
        write_weight(net, next, r, from, 0);
    }
}

static uint32_t size_of(int32_t x) {
    return (uint32_t)(x < 0 ? -x : x);
}

static tinc_bits incoming_of(const tinc_net *net, uint32_t l, uint32_t unit) {
    const tinc_layer *layer = &net->layers[l];
    const int32_t *bias = tinc_bias(net, layer);
    const uint32_t inputs = tinc_layer_inputs(net, l);
    uint32_t sum = 0; /* at most 65535 of 15 bits */
    for (uint32_t i = 0; i < inputs; i++) {
        sum += size_of(read_weight(net, layer, unit, i));
    }
    const tinc_bits weights =
        tinc_bits_multiply(tinc_bits_of(sum, -MASTER_POINT), tinc_scales(net, layer)[unit]);
    return tinc_bits_add(weights, tinc_bits_of(size_of(bias[unit]), -BIAS_POINT));
}

static tinc_bits outgoing_of(const tinc_net *net, uint32_t l, uint32_t unit) {
    const tinc_layer *next = &net->layers[l + 1];
    tinc_bits sum = 0;
    for (uint32_t r = 0; r < next->active; r++) {
        const tinc_bits size =
            tinc_bits_of(size_of(read_weight(net, next, r, unit)), -MASTER_POINT);
        sum = tinc_bits_add(sum, tinc_bits_multiply(size, tinc_scales(net, next)[r]));
    }
    return sum;
}

static int q8_least_useful(const tinc_net *net, uint32_t l, uint32_t over) {
    uint32_t least = 0;
    tinc_bits least_use = 0, most_use = 0;
    for (uint32_t unit = 0; unit < net->layers[l].active; unit++) {
        const tinc_bits use =
            tinc_bits_multiply(incoming_of(net, l, unit), outgoing_of(net, l, unit));
        if (unit == 0 || use < least_use) {
            least = unit;
            least_use = use;
        }
        most_use = use > most_use ? use : most_use;
    }
    least_use = tinc_bits_multiply(least_use, tinc_bits_of(over, 0));
    return least_use > most_use ? TINC_E_UNIT : (int)least;
}

/* ---- what both formats share ---- */

/* A new class starts as if replayed as often as the rarest, not as one long neglected. */
static void start_class(tinc_net *net, uint32_t cls) {
    tinc_class_state *states = tinc_class_states(net);
    uint32_t least = cls == 0 ? 0 : states[0].replayed;
    for (uint32_t c = 1; c < cls; c++) {
        least = states[c].replayed < least ? states[c].replayed : least;
    }
    states[cls].last = net->state->lessons;
    states[cls].replayed = least;
}

int tinc_grow(tinc_net *net, uint32_t layer, uint32_t units) {
    if (check_writable(net, layer)) {
        return net->fault.code;
    }
    const uint32_t active = net->layers[layer].active,
                   capacity = net->layers[layer].output_shape[0];
    if (units > capacity - active) {
        return tinc_fail(net, TINC_E_CAPACITY, layer, units, capacity - active);
    }
    for (uint32_t u = 0; u < units; u++) {
        if (layer + 1 == net->layer_count) {
            start_class(net, active + u);
        }
        FORMAT_CALL(net, add_unit(net, layer, active + units));
        net->layers[layer].active++;
    }
    return TINC_OK;
}

/* Kept apart: inlined it is longer. */
__attribute__((noinline)) void tinc_copy(void *to, const void *from, uint32_t bytes) {
    uint8_t *out = to;
    const uint8_t *in = from;
    for (uint32_t i = 0; i < bytes; i++) {
        out[i] = in[i];
    }
}

/* The memory's samples of a class go; those of the last class take its number. */
static void forget_class(tinc_net *net, uint32_t cls, uint32_t last) {
    tinc_memory *memory = net->memory;
    uint16_t *classes = tinc_slot_classes(net), *weights = tinc_slot_weights(net);
    uint32_t slot = 0;
    while (slot < memory->count) {
        if (classes[slot] != cls) {
            slot++;
            continue;
        }
        const uint32_t moving = --memory->count;
        classes[slot] = classes[moving];
        weights[slot] = weights[moving];
        tinc_copy(tinc_slot_sample(net, slot), tinc_slot_sample(net, moving),
                  tinc_slot_bytes(memory));
    }
    for (slot = 0; slot < memory->count; slot++) {
        classes[slot] = classes[slot] == last ? (uint16_t)cls : classes[slot];
    }
}

static void remove_class(tinc_net *net, uint32_t cls, uint32_t last) {
    tinc_class_state *states = tinc_class_states(net);
    const uint32_t label_bytes = net->state->label_bytes;
    uint8_t *labels = net->section[TINC_STATE] + net->state->labels_offset;
    states[cls] = states[last];
    tinc_copy(labels + cls * label_bytes, labels + last * label_bytes, label_bytes);
    if (net->memory != NULL) {
        forget_class(net, cls, last);
    }
}

int tinc_shrink(tinc_net *net, uint32_t layer, uint32_t unit) {
    if (check_writable(net, layer)) {
        return net->fault.code;
    }
    tinc_layer *here = &net->layers[layer];
    if (unit >= here->active || here->active == 1) {
        return tinc_fail(net, TINC_E_UNIT, layer, unit, here->active);
    }
    const uint32_t last = here->active - 1u;
    FORMAT_CALL(net, move_unit(net, layer, unit, last));
    if (layer + 1 == net->layer_count) {
        remove_class(net, unit, last);
    }
    here->active = last;
    return TINC_OK;
}

int tinc_least_useful(tinc_net *net, uint32_t layer, uint32_t over) {
    if (check_layer(net, layer, net->layer_count - 1u, 0)) {
        return net->fault.code;
    }
    return FORMAT_CALL(net, least_useful(net, layer, over));
}
