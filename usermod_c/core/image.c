/* Images: is this a network, and where is everything? Nothing is used before it was checked here,
 * or, as for the layer table, in layers.c.
 *
 * Sizes are compared by subtraction from what is known to fit, so that no sum can overflow: a
 * section is below 2^31 bytes, a layer has at most 65535 values. */
#include "check.h"

typedef char header_is_128_bytes[sizeof(tinc_header) == 128 ? 1 : -1];
typedef char section_is_32_bytes[sizeof(tinc_section) == 32 ? 1 : -1];
typedef char layer_is_96_bytes[sizeof(tinc_layer) == 96 ? 1 : -1];
typedef char memory_is_64_bytes[sizeof(tinc_memory) == 64 ? 1 : -1];
typedef char state_is_128_bytes[sizeof(tinc_state) == 128 ? 1 : -1];

/* Bits of a float as an integer that orders as the floats do; NaN lies beyond both infinities. */
static int32_t order(uint32_t bits) {
    const int32_t magnitude = (int32_t)(bits & 0x7FFFFFFFu);
    return bits >> 31 ? -magnitude : magnitude;
}

int tinc_within(const float *x, float low, float high) {
    const int32_t at = order(tinc_float_bits(*x));
    return at >= order(tinc_float_bits(low)) && at <= order(tinc_float_bits(high));
}

int tinc_is_power(const float *x, float low, float high) {
    return tinc_within(x, low, high) && (tinc_float_bits(*x) & 0x007FFFFFu) == 0;
}

uint32_t tinc_product(uint32_t a, uint32_t b) {
    const uint32_t high = (a >> 16) * b, low = (a & 0xFFFFu) * b;
    return high > 0x7FFFu || low > MOST_BYTES - (high << 16) ? 0xFFFFFFFFu : (high << 16) + low;
}

int tinc_fits(uint32_t offset, uint32_t bytes, uint32_t section_bytes) {
    return offset % 8u == 0 && offset <= section_bytes && bytes <= section_bytes - offset;
}

int tinc_all_zero(const void *data, size_t bytes) {
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

/* Magic, version and sizes: what says how much there is to read. */
static int check_extent(tinc_net *net, size_t bytes) {
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
    return TINC_OK;
}

static int check_modes(tinc_net *net) {
    const tinc_header *h = net->header;
    const uint32_t least = TINYINC_F32 ? TINC_F32 : TINC_Q8;
    if (h->format < least || h->format > TINC_Q8) {
        return tinc_fail(net, TINC_E_FORMAT, AT(tinc_header, format), h->format, TINC_Q8);
    }
    if (h->head != TINC_SOFTMAX) {
        return tinc_fail(net, TINC_E_FORMAT, AT(tinc_header, head), h->head, TINC_SOFTMAX);
    }
    if (h->input_type != h->format) {
        return fail_header(net, AT(tinc_header, input_type), h->input_type);
    }
    if (h->normalisation != 0) {
        return fail_header(net, AT(tinc_header, normalisation), h->normalisation);
    }
    if (h->optimiser != 0) {
        return fail_header(net, AT(tinc_header, optimiser), h->optimiser);
    }
    return TINC_OK;
}

static int check_shape(tinc_net *net) {
    const tinc_header *h = net->header;
    if (h->input_rank < 1 || h->input_rank > 4) {
        return fail_header(net, AT(tinc_header, input_rank), h->input_rank);
    }
    net->inputs = 1;
    for (uint32_t axis = 0; axis < 4; axis++) {
        const uint32_t size = h->input_shape[axis];
        const uint32_t most = axis < h->input_rank ? TINC_MAX_UNITS : 1;
        if (size < 1 || size > most || size * net->inputs > TINC_MAX_UNITS) {
            return fail_header(net, AT(tinc_header, input_shape) + 4u * axis, size);
        }
        net->inputs *= size;
    }
    return TINC_OK;
}

static uint32_t exponent_of(float x) {
    return tinc_magnitude_bits(x) >> 23;
}

/* Q8 normalises in integers: the scale has all its bits, and the offset, in steps of the input, is
 * below 2^14. Exponents add up, so that the bound is at most that: 2^12 where both mantissas are
 * 1. */
static int is_integer_input(const tinc_header *h) {
    return exponent_of(h->input_scale) > 0 &&
           exponent_of(h->input_offset) + exponent_of(h->input_scale) <=
               exponent_of(h->input_step) + 127u + 12u;
}

static int check_normalisation(tinc_net *net) {
    const tinc_header *h = net->header;
    if (!tinc_is_finite(h->input_offset)) {
        return fail_header(net, AT(tinc_header, input_offset), 0);
    }
    if (!tinc_is_finite(h->input_scale) || tinc_magnitude_bits(h->input_scale) == 0) {
        return fail_header(net, AT(tinc_header, input_scale), 0);
    }
    if (!tinc_within(&h->input_low, -1e6f, 1e6f) || !tinc_within(&h->input_high, -1e6f, 1e6f) ||
        order(tinc_float_bits(h->input_low)) >= order(tinc_float_bits(h->input_high))) {
        return fail_header(net, AT(tinc_header, input_low), 0);
    }
    if (tinc_is_q8(net) ? !tinc_is_power(&h->input_step, LEAST_STEP, MOST_STEP)
                        : tinc_float_bits(h->input_step) != 0) {
        return fail_header(net, AT(tinc_header, input_step), 0);
    }
    if (tinc_is_q8(net) && !is_integer_input(h)) {
        return fail_header(net, AT(tinc_header, input_scale), 0);
    }
    if (h->input_zero_point != 0) {
        return fail_header(net, AT(tinc_header, input_zero_point), (uint32_t)h->input_zero_point);
    }
    if (h->reserved8 != 0 || !tinc_all_zero(h->reserved, sizeof h->reserved)) {
        return fail_header(net, AT(tinc_header, reserved8), h->reserved8);
    }
    return TINC_OK;
}

static int check_header(tinc_net *net, size_t bytes) {
    int error = check_extent(net, bytes);
    error = error ? error : check_modes(net);
    error = error ? error : check_shape(net);
    return error ? error : check_normalisation(net);
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
            !tinc_all_zero(s->reserved, sizeof s->reserved) || s->offset < end ||
            !tinc_fits(s->offset, s->bytes, h->file_bytes) || s->bytes % 8u != 0) {
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
        error = tinc_check_layer(net, l);
    }
    return error == TINC_OK ? tinc_check_stage(net) : error;
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
    const uint32_t step = tinc_float_bits(net->header->input_step);
    const int q8 = tinc_is_q8(net); /* q = x + 128, in steps of the input */
    if (q8 ? tinc_float_bits(m->step) != step : !tinc_within(&m->step, 1e-9f, 1e6f)) {
        return tinc_fail(net, TINC_E_MEMORY, AT(tinc_memory, step), 0, 0);
    }
    if (q8 ? tinc_float_bits(m->offset) != (1u << 31 | (step + (7u << 23)))
           : !tinc_within(&m->offset, -1e6f, 1e6f)) {
        return tinc_fail(net, TINC_E_MEMORY, AT(tinc_memory, offset), 0, 0);
    }
    if (m->classes_offset < sizeof *m || !tinc_fits(m->classes_offset, 2u * m->capacity, bytes)) {
        return tinc_fail(net, TINC_E_MEMORY, AT(tinc_memory, classes_offset), m->classes_offset,
                         bytes);
    }
    if (m->weights_offset < sizeof *m || !tinc_fits(m->weights_offset, 2u * m->capacity, bytes)) {
        return tinc_fail(net, TINC_E_MEMORY, AT(tinc_memory, weights_offset), m->weights_offset,
                         bytes);
    }
    if (m->samples_offset < sizeof *m ||
        !tinc_fits(m->samples_offset, tinc_product(m->stride, m->capacity), bytes)) {
        return tinc_fail(net, TINC_E_MEMORY, AT(tinc_memory, samples_offset), m->samples_offset,
                         bytes);
    }
    const uint32_t tail = AT(tinc_memory, soft_offset);
    if (!tinc_all_zero(&m->soft_offset, sizeof *m - tail)) {
        return tinc_fail(net, TINC_E_MEMORY, tail, m->soft_offset, 0);
    }
    net->memory = (tinc_memory *)(void *)net->section[TINC_MEMORY];
    return TINC_OK;
}

static int fail_state(tinc_net *net, uint32_t field, uint32_t found) {
    return tinc_fail(net, TINC_E_STATE, field, found, 0);
}

typedef struct {
    uint32_t field;
    float low, high;
} tinc_range;

const tinc_range tinc_settings[] = {
    {AT(tinc_state, learning_rate), 1e-9f, 10.0f},
    {AT(tinc_state, static_ratio), 0.0f, 1.0f},
    {AT(tinc_state, s_min), 0.0f, 1.0f},
    {AT(tinc_state, s_max), 0.0f, 1.0f},
    {AT(tinc_state, zeta), 0.0f, 1.0f},
    {AT(tinc_state, d_min), 0.0f, 1.0f},
    {AT(tinc_state, d_max), 0.0f, 1.0f},
    {AT(tinc_state, beta), 0.0f, 10.0f},
    {AT(tinc_state, d_threshold), 0.0f, 10.0f},
    {AT(tinc_state, error_threshold), 1e-6f, 1e6f},
    {AT(tinc_state, hidden_ratio), 0.0f, 1.0f},
    {AT(tinc_state, input_threshold), 0.0f, 1.0f},
    {AT(tinc_state, vote), 0.0f, 100.0f},
};

static int check_settings(tinc_net *net) {
    for (uint32_t i = 0; i < sizeof tinc_settings / sizeof tinc_settings[0]; i++) {
        const tinc_range *range = &tinc_settings[i];
        const void *at = (const uint8_t *)net->state + range->field;
        if (!tinc_within(at, range->low, range->high)) {
            return fail_state(net, range->field, 0);
        }
    }
    if (tinc_is_q8(net) && !tinc_is_power(&net->state->learning_rate, 1e-9f, 10.0f)) {
        return fail_state(net, AT(tinc_state, learning_rate), 0);
    }
    return TINC_OK;
}

static int check_layer_states(tinc_net *net) {
    const tinc_layer_state *layer = tinc_layer_states(net);
    const uint32_t most = tinc_is_q8(net) ? MOST_WIDENED : 0;
    for (uint32_t l = 0; l < net->layer_count; l++) {
        if (!tinc_within(&layer[l].y_max, 0.0f, 3e38f) || layer[l].widened > most) {
            const uint32_t at = l * (uint32_t)sizeof *layer;
            return fail_state(net, net->state->layers_offset + at, layer[l].widened);
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
    if (!tinc_all_zero(s->rates, sizeof s->rates)) {
        return fail_state(net, AT(tinc_state, rates), 0);
    }
    if (!tinc_all_zero(s->reserved, sizeof s->reserved)) {
        return fail_state(net, AT(tinc_state, reserved), 0);
    }
    const uint32_t layer_bytes = net->layer_count * (uint32_t)sizeof(tinc_layer_state);
    if (s->layers_offset < sizeof *s || !tinc_fits(s->layers_offset, layer_bytes, bytes)) {
        return fail_state(net, AT(tinc_state, layers_offset), s->layers_offset);
    }
    const uint32_t class_bytes = s->class_capacity * (uint32_t)sizeof(tinc_class_state);
    if (s->classes_offset < sizeof *s || !tinc_fits(s->classes_offset, class_bytes, bytes)) {
        return fail_state(net, AT(tinc_state, classes_offset), s->classes_offset);
    }
    if (s->labels_offset < sizeof *s ||
        !tinc_fits(s->labels_offset, s->class_capacity * s->label_bytes, bytes)) {
        return fail_state(net, AT(tinc_state, labels_offset), s->labels_offset);
    }
    const int error = check_layer_states(net);
    return error ? error : check_settings(net);
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
        const int error = tinc_check_tensors(net, l);
        if (error) {
            return error;
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
