/* Capacity in use: units and classes come and go within what the image has room for. */
#include "q8.h"

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

#define MASTER_POINT 8 /* bits of a master behind the point; of an int8 none */
#define BIAS_POINT 20
#define MOST_MASTER (95 << MASTER_POINT) /* in size: further out a row is halved */

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

/* Of a master's bits an int8 keeps those before the point. */
static void draw_weight(tinc_net *net, const q8_row *row, uint32_t i, uint32_t bound) {
    const int32_t master =
        (int32_t)tinc_multiply_high(tinc_next(net->state), 2u * bound + 1u) - (int32_t)bound;
    tinc_q8_write(row, i, row->wide ? master : q8_round(master, MASTER_POINT));
}

/* As f32_add_unit(); the scale makes the bound of the incoming weights 47.5 to 95 steps. */
static void q8_add_unit(tinc_net *net, uint32_t l, uint32_t units) {
    const tinc_layer *layer = &net->layers[l], *next = layer + 1;
    const uint32_t unit = layer->active, inputs = tinc_layer_inputs(net, l);
    const int last = l + 1 == net->layer_count;
    const int32_t incoming = log_he_bound(inputs), outgoing = log_he_bound(units) - 65536;
    const int32_t scale = (incoming - LOG2_47_5) >> 16;
    const uint32_t bound = weight_bound(incoming, scale);
    const q8_row row = tinc_q8_row(net, layer, unit);
    int32_t *bias = tinc_bias(net, layer);
    tinc_scales(net, layer)[unit] = (uint32_t)(scale + 127) << 23;
    bias[unit] = 0;
    for (uint32_t i = 0; i < inputs; i++) {
        if (last) {
            tinc_q8_write(&row, i, 0);
        } else {
            draw_weight(net, &row, i, bound);
        }
    }
    for (uint32_t r = 0; !last && r < next->active; r++) {
        const q8_row above = tinc_q8_row(net, next, r);
        const int32_t row_scale = tinc_bits_exponent(tinc_scales(net, next)[r]);
        draw_weight(net, &above, unit, weight_bound(outgoing, row_scale));
    }
}

/* What it leaves behind is zero: rows and inputs lie in pairs. */
static void move_weight(const q8_row *to, uint32_t i, const q8_row *from, uint32_t j) {
    tinc_q8_write(to, i, tinc_q8_read(from, j));
    tinc_q8_write(from, j, 0);
}

static void q8_move_unit(tinc_net *net, uint32_t l, uint32_t to, uint32_t from) {
    const tinc_layer *layer = &net->layers[l], *next = layer + 1;
    uint32_t *scales = tinc_scales(net, layer);
    int32_t *bias = tinc_bias(net, layer);
    const q8_row source = tinc_q8_row(net, layer, from), row = tinc_q8_row(net, layer, to);
    const uint32_t inputs = tinc_layer_inputs(net, l);
    scales[to] = scales[from];
    bias[to] = bias[from];
    for (uint32_t i = 0; i < inputs; i++) {
        move_weight(&row, i, &source, i);
    }
    for (uint32_t r = 0; l + 1 < net->layer_count && r < next->active; r++) {
        const q8_row above = tinc_q8_row(net, next, r);
        move_weight(&above, to, &above, from);
    }
}

/* The sum of sizes of n weights of a row; 65535 of 15 bits fit. */
static tinc_bits size_of(const tinc_net *net, const tinc_layer *layer, uint32_t index,
                         uint32_t from, uint32_t n) {
    const q8_row row = tinc_q8_row(net, layer, index);
    uint32_t sum = 0;
    for (uint32_t i = from; i < from + n; i++) {
        sum += q8_magnitude(tinc_q8_read(&row, i));
    }
    return tinc_bits_multiply(tinc_bits_of(sum, row.wide ? -MASTER_POINT : 0),
                              tinc_scales(net, layer)[index]);
}

/* All that comes in, times all that goes out. */
static tinc_bits use_of(const tinc_net *net, uint32_t l, uint32_t unit) {
    const tinc_layer *layer = &net->layers[l], *next = layer + 1;
    const int32_t *bias = tinc_bias(net, layer);
    const tinc_bits incoming = size_of(net, layer, unit, 0, tinc_layer_inputs(net, l));
    tinc_bits outgoing = 0;
    for (uint32_t r = 0; r < next->active; r++) {
        outgoing = tinc_bits_add(outgoing, size_of(net, next, r, unit, 1));
    }
    return tinc_bits_multiply(
        tinc_bits_add(incoming, tinc_bits_of(q8_magnitude(bias[unit]), -BIAS_POINT)), outgoing);
}

static int q8_least_useful(const tinc_net *net, uint32_t l, uint32_t over) {
    uint32_t least = 0;
    tinc_bits least_use = 0, most_use = 0;
    for (uint32_t unit = 0; unit < net->layers[l].active; unit++) {
        const tinc_bits use = use_of(net, l, unit);
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
    const int error = check_writable(net, layer);
    if (error) {
        return error;
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
    const int error = check_writable(net, layer);
    if (error) {
        return error;
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
    const int error = check_layer(net, layer, net->layer_count - 1u, 0);
    return error ? error : FORMAT_CALL(net, least_useful(net, layer, over));
}
