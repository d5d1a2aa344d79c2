/* Images: is this a network, and where is everything? Nothing is used before it was checked here.
 *
 * Sizes are compared by subtraction from what is known to fit, so that no sum can overflow: a
 * section is below 2^31 bytes, a layer has at most 65535 units. */
#include "internal.h"

#define MOST_BYTES 0x7FFFFFF8u

/* Byte offset of a field, for faults that name one. */
#define AT(type, field) ((uint32_t)offsetof(type, field))

typedef char header_is_128_bytes[sizeof(tinc_header) == 128 ? 1 : -1];
typedef char section_is_32_bytes[sizeof(tinc_section) == 32 ? 1 : -1];
typedef char layer_is_96_bytes[sizeof(tinc_layer) == 96 ? 1 : -1];
typedef char memory_is_64_bytes[sizeof(tinc_memory) == 64 ? 1 : -1];
typedef char state_is_128_bytes[sizeof(tinc_state) == 128 ? 1 : -1];

/* NaN is in no range. */
static int within(float x, float low, float high) {
    return x >= low && x <= high;
}

/* Is [offset, offset + bytes) inside a section, and aligned to 8? */
static int fits(uint32_t offset, uint32_t bytes, uint32_t section_bytes) {
    return offset % 8u == 0 && offset <= section_bytes && bytes <= section_bytes - offset;
}

/* Are `bytes` bytes, a multiple of 4 and aligned to 4, all 0? */
static int all_zero(const void *data, size_t bytes) {
    const uint32_t *word = data;
    uint32_t any = 0;
    for (size_t i = 0; i < bytes / 4u; i++) {
        any |= word[i];
    }
    return any == 0;
}

static int fail_header(tinc_net *net, uint32_t field, uint32_t found) {
    return tinc_fail(net, TINC_E_HEADER, field, found, 0);
}

static int check_header(tinc_net *net, size_t bytes) {
    const tinc_header *h = net->header;
    if (h->magic[0] != 'T' || h->magic[1] != 'I' || h->magic[2] != 'N' || h->magic[3] != 'C') {
        return tinc_fail(net, TINC_E_MAGIC, 0, 0, 0);
    }
    if (h->version_major != TINC_VERSION_MAJOR) {
        return tinc_fail(net, TINC_E_VERSION, 0, h->version_major, TINC_VERSION_MAJOR);
    }
    if (h->section_count < TINC_SECTIONS - 1 || h->section_count > TINC_MAX_SECTIONS) {
        return fail_header(net, AT(tinc_header, section_count), h->section_count);
    }
    if (h->layer_count < 1 || h->layer_count > TINC_MAX_LAYERS) {
        return fail_header(net, AT(tinc_header, layer_count), h->layer_count);
    }
    const uint32_t needed = (uint32_t)sizeof(tinc_header) +
                            h->section_count * (uint32_t)sizeof(tinc_section) +
                            h->layer_count * (uint32_t)sizeof(tinc_layer);
    if (h->structure_bytes != needed) {
        return fail_header(net, AT(tinc_header, structure_bytes), h->structure_bytes);
    }
    if (bytes != needed) {
        return tinc_fail(net, TINC_E_TRUNCATED, TINC_STRUCTURE, (uint32_t)bytes, needed);
    }
    if (h->file_bytes < needed || h->file_bytes > MOST_BYTES || h->file_bytes % 8u != 0) {
        return fail_header(net, AT(tinc_header, file_bytes), h->file_bytes);
    }
    if (h->format != TINC_F32) {
        return tinc_fail(net, TINC_E_FORMAT, AT(tinc_header, format), h->format, TINC_F32);
    }
    if (h->head != TINC_SOFTMAX) {
        return tinc_fail(net, TINC_E_FORMAT, AT(tinc_header, head), h->head, TINC_SOFTMAX);
    }
    if (h->input_type != 0) {
        return fail_header(net, AT(tinc_header, input_type), h->input_type);
    }
    if (h->normalisation != 0) {
        return fail_header(net, AT(tinc_header, normalisation), h->normalisation);
    }
    if (h->optimiser != 0) {
        return fail_header(net, AT(tinc_header, optimiser), h->optimiser);
    }
    if (h->input_rank < 1 || h->input_rank > 4) {
        return fail_header(net, AT(tinc_header, input_rank), h->input_rank);
    }
    net->inputs = 1;
    for (uint32_t axis = 0; axis < 4; axis++) {
        const uint32_t size = h->input_shape[axis];
        if (size < 1 || size > TINC_MAX_UNITS / net->inputs ||
            (axis >= h->input_rank && size != 1)) {
            return fail_header(net, AT(tinc_header, input_shape) + 4u * axis, size);
        }
        net->inputs *= size;
    }
    if (!tinc_is_finite(h->input_offset)) {
        return fail_header(net, AT(tinc_header, input_offset), 0);
    }
    if (!tinc_is_finite(h->input_scale) || h->input_scale == 0.0f) {
        return fail_header(net, AT(tinc_header, input_scale), 0);
    }
    if (!within(h->input_low, -1e6f, 1e6f) || !within(h->input_high, -1e6f, 1e6f) ||
        h->input_low >= h->input_high) {
        return fail_header(net, AT(tinc_header, input_low), 0);
    }
    const uint32_t tail = AT(tinc_header, input_step);
    if (!all_zero((const uint8_t *)h + tail, sizeof *h - tail)) {
        return fail_header(net, tail, 0);
    }
    return TINC_OK;
}

static int check_sections(tinc_net *net) {
    const tinc_header *h = net->header;
    const tinc_section *table = (const tinc_section *)(const void *)(h + 1);
    uint32_t end = h->structure_bytes;
    for (uint32_t kind = 0; kind < TINC_SECTIONS; kind++) {
        net->section_index[kind] = TINC_NONE;
    }
    for (uint32_t i = 0; i < h->section_count; i++) {
        const tinc_section *s = &table[i];
        if (s->flags & ~(uint32_t)(TINC_SECTION_REQUIRED | TINC_SECTION_READ_ONLY) ||
            !all_zero(s->reserved, sizeof s->reserved) || s->offset < end ||
            !fits(s->offset, s->bytes, h->file_bytes) || s->bytes % 8u != 0) {
            return tinc_fail(net, TINC_E_SECTION, i, s->offset, h->file_bytes);
        }
        end = s->offset + s->bytes;
        if (s->kind >= TINC_SECTIONS) {
            if (s->flags & TINC_SECTION_REQUIRED) {
                return tinc_fail(net, TINC_E_SECTION_UNKNOWN, i, s->kind, TINC_SECTIONS - 1);
            }
            continue;
        }
        if (s->kind == TINC_STRUCTURE || net->section_index[s->kind] != TINC_NONE) {
            return tinc_fail(net, TINC_E_SECTION, i, s->kind, TINC_SECTIONS - 1);
        }
        net->section_index[s->kind] = i;
        net->bytes[s->kind] = s->bytes;
    }
    for (uint32_t kind = TINC_TRAINED; kind < TINC_SECTIONS; kind++) {
        if (net->section_index[kind] == TINC_NONE) {
            return tinc_fail(net, TINC_E_SECTION, kind, 0, 1);
        }
    }
    return TINC_OK;
}

static int fail_layer(tinc_net *net, uint32_t l, uint32_t field, uint32_t found) {
    return tinc_fail(net, TINC_E_LAYER_FIELD, l, field, found);
}

/* Fields that only later formats use. */
static int check_reserved(tinc_net *net, uint32_t l) {
    const tinc_layer *layer = &net->layers[l];
    const uint32_t geometry = AT(tinc_layer, kernel);
    if (!all_zero(layer->kernel, 8) || layer->dilation[0] != 0 || layer->dilation[1] != 0) {
        return fail_layer(net, l, geometry, 0);
    }
    if (layer->source != 0xFFFFu) {
        return fail_layer(net, l, AT(tinc_layer, source), layer->source);
    }
    if (layer->groups != 0) {
        return fail_layer(net, l, AT(tinc_layer, groups), layer->groups);
    }
    const uint32_t tail = AT(tinc_layer, scales_offset);
    if (!all_zero(&layer->scales_offset, sizeof *layer - tail)) {
        return fail_layer(net, l, tail, 0);
    }
    return TINC_OK;
}

static int check_layer(tinc_net *net, uint32_t l) {
    const tinc_layer *layer = &net->layers[l];
    const int last = l + 1 == net->layer_count;
    if (layer->kind != TINC_DENSE) {
        return tinc_fail(net, TINC_E_LAYER_KIND, l, layer->kind, TINC_DENSE);
    }
    if (layer->activation != (last ? TINC_LINEAR : TINC_RELU)) {
        return fail_layer(net, l, AT(tinc_layer, activation), layer->activation);
    }
    if (layer->flags & ~(TINC_TRAIN_WEIGHTS | TINC_TRAIN_BIAS)) {
        return fail_layer(net, l, AT(tinc_layer, flags), layer->flags);
    }
    if (layer->update_eighths != 8) {
        return fail_layer(net, l, AT(tinc_layer, update_eighths), layer->update_eighths);
    }
    if (layer->weight_type != 0) {
        return fail_layer(net, l, AT(tinc_layer, weight_type), layer->weight_type);
    }
    if (layer->bias_type != 0) {
        return fail_layer(net, l, AT(tinc_layer, bias_type), layer->bias_type);
    }
    if (layer->optimiser_slots != 0) {
        return fail_layer(net, l, AT(tinc_layer, optimiser_slots), layer->optimiser_slots);
    }
    if (layer->rank != 1) {
        return fail_layer(net, l, AT(tinc_layer, rank), layer->rank);
    }
    const uint32_t inputs = layer->input_shape[0], units = layer->output_shape[0];
    const uint32_t chained = l == 0 ? net->inputs : net->layers[l - 1].output_shape[0];
    if (inputs != chained) {
        return tinc_fail(net, TINC_E_LAYER_CHAIN, l, inputs, chained);
    }
    for (uint32_t axis = 1; axis < 3; axis++) {
        if (layer->input_shape[axis] != 1 || layer->output_shape[axis] != 1) {
            return fail_layer(net, l, AT(tinc_layer, input_shape) + 4u * axis,
                              layer->input_shape[axis]);
        }
    }
    if (units < 1 || units > TINC_MAX_UNITS) {
        return fail_layer(net, l, AT(tinc_layer, output_shape), units);
    }
    if (layer->active > units) {
        return fail_layer(net, l, AT(tinc_layer, active), layer->active);
    }
    const uint32_t weights = layer->flags & TINC_TRAIN_WEIGHTS ? TINC_TRAINED : TINC_FROZEN;
    const uint32_t bias = layer->flags & TINC_TRAIN_BIAS ? TINC_TRAINED : TINC_FROZEN;
    /* at most 65535 * 65535 values, which fits 32 bits; their bytes may not */
    if (units * inputs > MOST_BYTES / 4u ||
        !fits(layer->weights_offset, 4u * units * inputs, net->bytes[weights])) {
        return tinc_fail(net, TINC_E_LAYER_BOUNDS, l, layer->weights_offset, net->bytes[weights]);
    }
    if (!fits(layer->bias_offset, 4u * units, net->bytes[bias])) {
        return tinc_fail(net, TINC_E_LAYER_BOUNDS, l, layer->bias_offset, net->bytes[bias]);
    }
    return check_reserved(net, l);
}

int tinc_open_structure(tinc_net *net, void *structure, size_t bytes) {
    if ((uintptr_t)structure % 8u != 0) {
        return tinc_fail(net, TINC_E_ALIGNMENT, TINC_STRUCTURE, 0, 0);
    }
    if (bytes < sizeof(tinc_header)) {
        return tinc_fail(net, TINC_E_TRUNCATED, TINC_STRUCTURE, (uint32_t)bytes,
                         (uint32_t)sizeof(tinc_header));
    }
    net->header = structure;
    net->memory = NULL;
    net->state = NULL;
    net->fault = (tinc_fault){TINC_OK, 0, 0, 0};
    int error = check_header(net, bytes);
    if (error == TINC_OK) {
        net->layer_count = net->header->layer_count;
        net->section[TINC_STRUCTURE] = structure;
        net->bytes[TINC_STRUCTURE] = net->header->structure_bytes;
        net->layers = (tinc_layer *)(void *)((uint8_t *)structure + sizeof(tinc_header) +
                                             net->header->section_count * sizeof(tinc_section));
        error = check_sections(net);
    }
    for (uint32_t l = 0; error == TINC_OK && l < net->layer_count; l++) {
        error = check_layer(net, l);
    }
    return error;
}

static int check_memory(tinc_net *net) {
    const uint32_t bytes = net->bytes[TINC_MEMORY];
    const tinc_memory *m = (const tinc_memory *)(const void *)net->section[TINC_MEMORY];
    if (bytes == 0) {
        return TINC_OK;
    }
    if (bytes < sizeof *m) {
        return tinc_fail(net, TINC_E_MEMORY, 0, bytes, (uint32_t)sizeof *m);
    }
    if (m->capacity > TINC_MAX_UNITS || m->count > m->capacity) {
        return tinc_fail(net, TINC_E_MEMORY, AT(tinc_memory, count), m->count, m->capacity);
    }
    if (m->features != net->inputs) {
        return tinc_fail(net, TINC_E_MEMORY, AT(tinc_memory, features), m->features, net->inputs);
    }
    if (m->stride < m->features || m->stride > 2u * TINC_MAX_UNITS) {
        return tinc_fail(net, TINC_E_MEMORY, AT(tinc_memory, stride), m->stride, m->features);
    }
    if (m->element_type != 0 || m->soft_labels != 0 || m->reserved16 != 0) {
        return tinc_fail(net, TINC_E_MEMORY, AT(tinc_memory, element_type), m->element_type, 0);
    }
    if (!within(m->step, 1e-9f, 1e6f)) {
        return tinc_fail(net, TINC_E_MEMORY, AT(tinc_memory, step), 0, 0);
    }
    if (!within(m->offset, -1e6f, 1e6f)) {
        return tinc_fail(net, TINC_E_MEMORY, AT(tinc_memory, offset), 0, 0);
    }
    if (m->classes_offset < sizeof *m || !fits(m->classes_offset, 2u * m->capacity, bytes)) {
        return tinc_fail(net, TINC_E_MEMORY, AT(tinc_memory, classes_offset), m->classes_offset,
                         bytes);
    }
    if (m->weights_offset < sizeof *m || !fits(m->weights_offset, 2u * m->capacity, bytes)) {
        return tinc_fail(net, TINC_E_MEMORY, AT(tinc_memory, weights_offset), m->weights_offset,
                         bytes);
    }
    if (m->samples_offset < sizeof *m ||
        (m->capacity > 0 && m->stride > MOST_BYTES / m->capacity) ||
        !fits(m->samples_offset, m->stride * m->capacity, bytes)) {
        return tinc_fail(net, TINC_E_MEMORY, AT(tinc_memory, samples_offset), m->samples_offset,
                         bytes);
    }
    const uint32_t tail = AT(tinc_memory, soft_offset);
    if (!all_zero(&m->soft_offset, sizeof *m - tail)) {
        return tinc_fail(net, TINC_E_MEMORY, tail, m->soft_offset, 0);
    }
    net->memory = (tinc_memory *)(void *)net->section[TINC_MEMORY];
    return TINC_OK;
}

static int fail_state(tinc_net *net, uint32_t field, uint32_t found) {
    return tinc_fail(net, TINC_E_STATE, field, found, 0);
}

static int check_settings(tinc_net *net) {
    const tinc_state *s = net->state;
    const struct {
        float value, low, high;
        uint32_t field;
    } settings[] = {
        {s->learning_rate, 1e-9f, 10.0f, AT(tinc_state, learning_rate)},
        {s->static_ratio, 0.0f, 1.0f, AT(tinc_state, static_ratio)},
        {s->s_min, 0.0f, 1.0f, AT(tinc_state, s_min)},
        {s->s_max, 0.0f, 1.0f, AT(tinc_state, s_max)},
        {s->zeta, 0.0f, 1.0f, AT(tinc_state, zeta)},
        {s->d_min, 0.0f, 1.0f, AT(tinc_state, d_min)},
        {s->d_max, 0.0f, 1.0f, AT(tinc_state, d_max)},
        {s->beta, 0.0f, 10.0f, AT(tinc_state, beta)},
        {s->d_threshold, 0.0f, 10.0f, AT(tinc_state, d_threshold)},
        {s->error_threshold, 1e-6f, 1e6f, AT(tinc_state, error_threshold)},
        {s->hidden_ratio, 0.0f, 1.0f, AT(tinc_state, hidden_ratio)},
        {s->input_threshold, 0.0f, 1.0f, AT(tinc_state, input_threshold)},
        {s->vote, 0.0f, 100.0f, AT(tinc_state, vote)},
    };
    for (uint32_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
        if (!within(settings[i].value, settings[i].low, settings[i].high)) {
            return fail_state(net, settings[i].field, 0);
        }
    }
    return TINC_OK;
}

static int check_state(tinc_net *net) {
    const uint32_t bytes = net->bytes[TINC_STATE];
    const tinc_state *s = (const tinc_state *)(const void *)net->section[TINC_STATE];
    if (bytes < sizeof *s) {
        return tinc_fail(net, TINC_E_STATE, 0, bytes, (uint32_t)sizeof *s);
    }
    net->state = (tinc_state *)(void *)net->section[TINC_STATE];
    if (s->rule > TINC_RULE_SAMPLED) {
        return fail_state(net, AT(tinc_state, rule), s->rule);
    }
    if (s->label_type > 1) {
        return fail_state(net, AT(tinc_state, label_type), s->label_type);
    }
    if (s->label_bytes < 4 || s->label_bytes > 64 || s->label_bytes % 4u != 0) {
        return fail_state(net, AT(tinc_state, label_bytes), s->label_bytes);
    }
    if (s->class_capacity != net->layers[net->layer_count - 1].output_shape[0]) {
        return fail_state(net, AT(tinc_state, class_capacity), s->class_capacity);
    }
    if (s->generator == 0) {
        return fail_state(net, AT(tinc_state, generator), 0);
    }
    if (!all_zero(s->rates, sizeof s->rates)) {
        return fail_state(net, AT(tinc_state, rates), 0);
    }
    if (!all_zero(s->reserved, sizeof s->reserved)) {
        return fail_state(net, AT(tinc_state, reserved), 0);
    }
    const uint32_t layer_bytes = net->layer_count * (uint32_t)sizeof(tinc_layer_state);
    if (s->layers_offset < sizeof *s || !fits(s->layers_offset, layer_bytes, bytes)) {
        return fail_state(net, AT(tinc_state, layers_offset), s->layers_offset);
    }
    const uint32_t class_bytes = s->class_capacity * (uint32_t)sizeof(tinc_class_state);
    if (s->classes_offset < sizeof *s || !fits(s->classes_offset, class_bytes, bytes)) {
        return fail_state(net, AT(tinc_state, classes_offset), s->classes_offset);
    }
    if (s->labels_offset < sizeof *s ||
        !fits(s->labels_offset, s->class_capacity * s->label_bytes, bytes)) {
        return fail_state(net, AT(tinc_state, labels_offset), s->labels_offset);
    }
    const tinc_layer_state *layer = tinc_layer_states(net);
    for (uint32_t l = 0; l < net->layer_count; l++) {
        if (!within(layer[l].y_max, 0.0f, 3e38f) || layer[l].reserved != 0) {
            return fail_state(net, s->layers_offset + l * (uint32_t)sizeof *layer, 0);
        }
    }
    return check_settings(net);
}

int tinc_open(tinc_net *net, void *const section[TINC_SECTIONS],
              const size_t bytes[TINC_SECTIONS]) {
    int error = tinc_open_structure(net, section[TINC_STRUCTURE], bytes[TINC_STRUCTURE]);
    for (uint32_t kind = TINC_TRAINED; error == TINC_OK && kind < TINC_SECTIONS; kind++) {
        if (bytes[kind] != net->bytes[kind]) {
            error =
                tinc_fail(net, TINC_E_SECTION_BYTES, kind, (uint32_t)bytes[kind], net->bytes[kind]);
        } else if ((uintptr_t)section[kind] % 8u != 0) {
            error = tinc_fail(net, TINC_E_ALIGNMENT, kind, 0, 0);
        }
        net->section[kind] = section[kind];
    }
    if (error == TINC_OK) {
        error = check_memory(net);
    }
    return error == TINC_OK ? check_state(net) : error;
}

/* Of the structure, with its own CRC field taken as 0. */
static uint32_t structure_crc(const tinc_net *net) {
    const uint8_t *structure = net->section[TINC_STRUCTURE];
    const uint32_t field = AT(tinc_header, structure_crc), zero = 0, after = field + 4u;
    uint32_t crc = tinc_crc32(0, structure, field);
    crc = tinc_crc32(crc, &zero, sizeof zero);
    return tinc_crc32(crc, structure + after, net->bytes[TINC_STRUCTURE] - after);
}

static tinc_section *table_entry(const tinc_net *net, uint32_t kind) {
    tinc_section *table = (tinc_section *)(void *)(net->header + 1);
    return &table[net->section_index[kind]];
}

static int check_finite(tinc_net *net, uint32_t l, const float *values, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        if (!tinc_is_finite(values[i])) {
            return tinc_fail(net, TINC_E_VALUE, l, i, 0);
        }
    }
    return TINC_OK;
}

int tinc_check(tinc_net *net) {
    if (structure_crc(net) != net->header->structure_crc) {
        return tinc_fail(net, TINC_E_STRUCTURE_CRC, 0, 0, 0);
    }
    for (uint32_t kind = TINC_TRAINED; kind < TINC_SECTIONS; kind++) {
        const uint32_t crc = tinc_crc32(0, net->section[kind], net->bytes[kind]);
        if (crc != table_entry(net, kind)->crc) {
            return tinc_fail(net, TINC_E_SECTION_CRC, kind, 0, 0);
        }
    }
    for (uint32_t l = 0; l < net->layer_count; l++) {
        const tinc_layer *layer = &net->layers[l];
        const uint32_t units = layer->output_shape[0];
        if (check_finite(net, l, tinc_weights(net, layer), units * layer->input_shape[0]) ||
            check_finite(net, l, tinc_bias(net, layer), units)) {
            return net->fault.code;
        }
    }
    for (uint32_t slot = 0; net->memory != NULL && slot < net->memory->count; slot++) {
        if (tinc_slot_classes(net)[slot] >= tinc_classes(net)) {
            return tinc_fail(net, TINC_E_CLASS, 0, tinc_slot_classes(net)[slot], tinc_classes(net));
        }
    }
    return TINC_OK;
}

void tinc_seal(tinc_net *net) {
    for (uint32_t kind = TINC_TRAINED; kind < TINC_SECTIONS; kind++) {
        table_entry(net, kind)->crc = tinc_crc32(0, net->section[kind], net->bytes[kind]);
    }
    net->header->structure_crc = structure_crc(net);
}
