/* Capacity in use: units and classes come and go within what the image has room for. */
#include "internal.h"

/* Resizing writes a layer's rows and, for hidden layers, the next layer's columns. */
static int check_writable(tinc_net *net, uint32_t l) {
    if (l >= net->layer_count) {
        return tinc_fail(net, TINC_E_LAYER, l, l, net->layer_count);
    }
    const uint32_t all = TINC_TRAIN_WEIGHTS | TINC_TRAIN_BIAS;
    const int last = l + 1 == net->layer_count;
    if (net->layers[l].flags != all ||
        (!last && !(net->layers[l + 1].flags & TINC_TRAIN_WEIGHTS))) {
        return tinc_fail(net, TINC_E_LAYER, l, l, net->layer_count);
    }
    return TINC_OK;
}

static float draw(tinc_net *net, float bound) {
    return (2.0f * tinc_uniform(net->state) - 1.0f) * bound;
}

static float he_bound(uint32_t inputs) {
    return tinc_rsqrt((float)inputs * (1.0f / 6.0f));
}

static void add_unit(tinc_net *net, uint32_t l, float outgoing_bound) {
    tinc_layer *layer = &net->layers[l];
    const uint32_t unit = layer->active, inputs = tinc_layer_inputs(net, l);
    const int last = l + 1 == net->layer_count;
    float *row = tinc_weights(net, layer) + (size_t)unit * layer->input_shape[0];
    for (uint32_t i = 0; i < inputs; i++) {
        row[i] = last ? 0.0f : draw(net, he_bound(inputs));
    }
    tinc_bias(net, layer)[unit] = 0.0f;
    if (!last) {
        tinc_layer *next = &net->layers[l + 1];
        float *column = tinc_weights(net, next) + unit;
        for (uint32_t r = 0; r < next->active; r++) {
            column[(size_t)r * next->input_shape[0]] = draw(net, outgoing_bound);
        }
    }
    layer->active = unit + 1u;
}

/* A new class starts as if replayed as often as the rarest, not as one long neglected. */
static void start_class(tinc_net *net, uint32_t cls) {
    tinc_class_state *states = tinc_class_states(net);
    uint32_t least = cls == 0 ? 0 : states[0].replayed;
    for (uint32_t c = 1; c < cls; c++) {
        least = states[c].replayed < least ? states[c].replayed : least;
    }
    states[cls].seen = 0;
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
        add_unit(net, layer, 0.5f * he_bound(active + units));
    }
    return TINC_OK;
}

static void copy(uint8_t *to, const uint8_t *from, uint32_t bytes) {
    for (uint32_t i = 0; i < bytes; i++) {
        to[i] = from[i];
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
        copy(tinc_slot_sample(net, slot), tinc_slot_sample(net, moving), memory->features);
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
    copy(labels + cls * label_bytes, labels + last * label_bytes, label_bytes);
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
    const uint32_t last = here->active - 1u, stride = here->input_shape[0];
    float *w = tinc_weights(net, here), *bias = tinc_bias(net, here);
    for (uint32_t i = 0; i < tinc_layer_inputs(net, layer); i++) {
        w[(size_t)unit * stride + i] = w[(size_t)last * stride + i];
    }
    bias[unit] = bias[last];
    if (layer + 1 < net->layer_count) {
        const tinc_layer *next = &net->layers[layer + 1];
        float *weights = tinc_weights(net, next);
        for (uint32_t r = 0; r < next->active; r++, weights += next->input_shape[0]) {
            weights[unit] = weights[last];
        }
    } else {
        remove_class(net, unit, last);
    }
    here->active = last;
    return TINC_OK;
}

static float magnitude(float x) {
    return x < 0.0f ? -x : x;
}

int tinc_least_useful(tinc_net *net, uint32_t layer) {
    if (layer >= net->layer_count - 1u) {
        return tinc_fail(net, TINC_E_LAYER, layer, layer, net->layer_count - 1u);
    }
    const tinc_layer *here = &net->layers[layer], *next = here + 1;
    const uint32_t inputs = tinc_layer_inputs(net, layer);
    uint32_t least = 0;
    float least_use = 0.0f;
    for (uint32_t unit = 0; unit < here->active; unit++) {
        const float *row = tinc_weights(net, here) + (size_t)unit * here->input_shape[0];
        float incoming = magnitude(tinc_bias(net, here)[unit]), outgoing = 0.0f;
        for (uint32_t i = 0; i < inputs; i++) {
            incoming += magnitude(row[i]);
        }
        const float *column = tinc_weights(net, next) + unit;
        for (uint32_t r = 0; r < next->active; r++) {
            outgoing += magnitude(column[(size_t)r * next->input_shape[0]]);
        }
        if (unit == 0 || incoming * outgoing < least_use) {
            least = unit;
            least_use = incoming * outgoing;
        }
    }
    return (int)least;
}
