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

/* Is a float, read where it lies, in [low, high]? NaN is in no range. */
static int is_within(const float *x, float low, float high) {
    const int32_t at = order(tinc_float_bits(*x));
    return at >= order(tinc_float_bits(low)) && at <= order(tinc_float_bits(high));
}

int tinc_is_power(const float *x, float low, float high) {
    return is_within(x, low, high) && (tinc_float_bits(*x) & 0x007FFFFFu) == 0;
}

uint32_t tinc_product(uint32_t a, uint32_t b) {
    const uint32_t high = (a >> 16) * b, low = (a & 0xFFFFu) * b;
    return high > 0x7FFFu || low > MOST_BYTES - (high << 16) ? 0xFFFFFFFFu : (high << 16) + low;
}

uint32_t tinc_layer_outputs(const tinc_layer *layer) {
    return layer->kind == TINC_DENSE
               ? layer->active
               : layer->output_shape[0] * layer->output_shape[1] * layer->output_shape[2];
}

uint32_t tinc_layer_inputs(const tinc_net *net, uint32_t layer) {
    return layer == 0 ? net->inputs : tinc_layer_outputs(&net->layers[layer - 1]);
}

void *tinc_weights(const tinc_net *net, const tinc_layer *layer) {
    return tinc_weights_section(net, layer) + layer->weights_offset;
}

uint32_t *tinc_scales(const tinc_net *net, const tinc_layer *layer) {
    return (uint32_t *)(void *)(tinc_weights_section(net, layer) + layer->scales_offset);
}

void *tinc_bias(const tinc_net *net, const tinc_layer *layer) {
    const int section = layer->flags & TINC_TRAIN_BIAS ? TINC_TRAINED : TINC_FROZEN;
    return net->section[section] + layer->bias_offset;
}

uint32_t tinc_step_before(const tinc_net *net, uint32_t layer) {
    while (layer-- > 0) {
        const uint32_t step = tinc_float_bits(net->layers[layer].output_step);
        if (step != 0) {
            return step;
        }
    }
    return tinc_float_bits(net->header->input_step);
}

int tinc_fits(uint32_t offset, uint32_t bytes, uint32_t section_bytes) {
    return offset % 8u == 0 && offset <= section_bytes && bytes <= section_bytes - offset;
}

/* Fields of one byte and what they may hold, both included. */
typedef struct {
    uint8_t field, least, most;
} byte_range;

/* The first of n fields of a record that is out of its range, or TINC_NONE. */
static uint32_t wrong_byte(const void *record, const byte_range *ranges, uint32_t n) {
    for (; n > 0; n--, ranges++) {
        const uint32_t value = ((const uint8_t *)record)[ranges->field];
        if (value < ranges->least || value > ranges->most) {
            return ranges->field;
        }
    }
    return TINC_NONE;
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

#define MAGIC 0x434E4954u /* "TINC" */

const byte_range tinc_header_bytes[] = {
    {AT(tinc_header, section_count), TINC_SECTIONS - 1, TINC_MAX_SECTIONS},
    {AT(tinc_header, layer_count), 1, TINC_MAX_LAYERS},
    {AT(tinc_header, head), TINC_SOFTMAX, TINC_SOFTMAX},
    {AT(tinc_header, normalisation), 0, 0},
    {AT(tinc_header, optimiser), 0, 0},
    {AT(tinc_header, input_rank), 1, 4},
};

/* Magic, version, modes and sizes: what says how much there is to read, and how. */
static int check_front(tinc_net *net, size_t bytes) {
    const tinc_header *h = net->header;
    if (*(const tinc_word *)(const void *)h->magic != MAGIC) {
        return tinc_fail(net, TINC_E_MAGIC, 0, 0, 0);
    }
    if (h->version_major != TINC_VERSION_MAJOR) {
        return tinc_fail(net, TINC_E_VERSION, 0, h->version_major, TINC_VERSION_MAJOR);
    }
    if (h->format > TINC_Q8 || (!TINYINC_F32 && h->format == TINC_F32)) {
        return tinc_fail(net, TINC_E_FORMAT, 0, h->format, 0);
    }
    if (h->input_type != h->format) {
        return fail_header(net, AT(tinc_header, input_type), h->input_type);
    }
    const uint32_t wrong = wrong_byte(h, tinc_header_bytes, COUNT(tinc_header_bytes));
    if (wrong != TINC_NONE) {
        return fail_header(net, wrong, ((const uint8_t *)h)[wrong]);
    }
    if (h->front_layers >= h->layer_count ||
        (h->front_layers > 0 && h->front_layers < h->stage_layers)) {
        return fail_header(net, AT(tinc_header, front_layers), h->front_layers);
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

static int check_shape(tinc_net *net) {
    const tinc_header *h = net->header;
    uint32_t inputs = 1;
    for (uint32_t axis = 0; axis < 4; axis++) {
        const uint32_t size = h->input_shape[axis];
        const uint32_t most = axis < h->input_rank ? TINC_MAX_UNITS : 1;
        if (size < 1 || size > most || size * inputs > TINC_MAX_UNITS) {
            return fail_header(net, AT(tinc_header, input_shape) + 4u * axis, size);
        }
        inputs *= size;
    }
    net->inputs = inputs;
    return TINC_OK;
}

static uint32_t exponent_of(float x) {
    return tinc_magnitude_bits(x) >> 23;
}

#define NOT_FINITE 255u /* as an exponent */

/* Q8 normalises in integers: the scale has all its bits, and the offset, in steps of the input, is
 * below 2^14. Exponents add up, so that the bound is at most that: 2^12 where both mantissas are
 * 1. */
static int is_scale(const tinc_net *net) {
    const tinc_header *h = net->header;
    const uint32_t scale = exponent_of(h->input_scale);
    if (!tinc_is_q8(net)) {
        return scale != NOT_FINITE && tinc_magnitude_bits(h->input_scale) != 0;
    }
    return scale != NOT_FINITE && scale > 0 &&
           exponent_of(h->input_offset) + scale <= exponent_of(h->input_step) + 127u + 12u;
}

/* The field of the normalisation that is wrong, or TINC_NONE. */
static uint32_t wrong_normalisation(const tinc_net *net) {
    const tinc_header *h = net->header;
    if (exponent_of(h->input_offset) == NOT_FINITE) {
        return AT(tinc_header, input_offset);
    }
    if (tinc_is_q8(net) ? !tinc_is_power(&h->input_step, LEAST_STEP, MOST_STEP)
                        : tinc_float_bits(h->input_step) != 0) {
        return AT(tinc_header, input_step);
    }
    if (!is_scale(net)) {
        return AT(tinc_header, input_scale);
    }
    if (!is_within(&h->input_low, -1e6f, 1e6f) || !is_within(&h->input_high, -1e6f, 1e6f) ||
        is_within(&h->input_low, h->input_high, 1e6f)) {
        return AT(tinc_header, input_low);
    }
    if (h->input_zero_point != 0) {
        return AT(tinc_header, input_zero_point);
    }
    return tinc_all_zero(h->reserved, sizeof h->reserved) ? TINC_NONE : AT(tinc_header, reserved);
}

static int check_header(tinc_net *net, size_t bytes) {
    int error = check_front(net, bytes);
    error = error ? error : check_shape(net);
    if (error) {
        return error;
    }
    const uint32_t wrong = wrong_normalisation(net);
    return wrong == TINC_NONE ? TINC_OK : fail_header(net, wrong, 0);
}

static int check_sections(tinc_net *net) {
    const tinc_header *h = net->header;
    const tinc_section *table = (const tinc_section *)(const void *)(h + 1);
    uint32_t end = h->structure_bytes;
    uint32_t known = 1u << TINC_STRUCTURE; /* a bit per kind */
    for (uint32_t i = 0; i < h->section_count; i++) {
        const tinc_section *s = &table[i];
        if (s->flags & ~(uint32_t)(TINC_SECTION_REQUIRED | TINC_SECTION_READ_ONLY) ||
            !tinc_all_zero(s->reserved, sizeof s->reserved) || s->offset < end ||
            !tinc_fits(s->offset, s->bytes, h->file_bytes) || s->bytes % 8u != 0) {
            return tinc_fail(net, TINC_E_SECTION, i, s->offset, 0);
        }
        end = s->offset + s->bytes;
        if (s->kind >= TINC_SECTIONS) {
            if (s->flags & TINC_SECTION_REQUIRED) {
                return tinc_fail(net, TINC_E_SECTION_UNKNOWN, i, s->kind, 0);
            }
            continue;
        }
        if (known >> s->kind & 1u) {
            return tinc_fail(net, TINC_E_SECTION, i, s->kind, 0);
        }
        known |= 1u << s->kind;
        net->section_index[s->kind] = i;
        net->bytes[s->kind] = s->bytes;
    }
    for (uint32_t kind = TINC_TRAINED; kind < TINC_SECTIONS; kind++) {
        if (!(known >> kind & 1u)) {
            return tinc_fail(net, TINC_E_SECTION, kind, 0, 0);
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
    net->fault.code = TINC_OK;
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
    if (error == TINC_OK) {
        net->features = tinc_layer_inputs(net, net->header->front_layers);
        error = tinc_check_stage(net);
    }
    return error;
}

/* A table behind a section's header: the field with its offset, and its bytes. */
typedef struct {
    uint32_t field, bytes;
} part;

#define PARTS 3

/* The field of the first that does not lie behind the header and inside the section, or TINC_NONE.
 */
static uint32_t wrong_part(const void *header, uint32_t header_bytes, uint32_t section_bytes,
                           const part parts[PARTS]) {
    for (uint32_t i = 0; i < PARTS; i++) {
        const uint32_t offset = *tinc_word_at(header, parts[i].field);
        if (offset < header_bytes || !tinc_fits(offset, parts[i].bytes, section_bytes)) {
            return parts[i].field;
        }
    }
    return TINC_NONE;
}

/* The word of the memory that is wrong, or TINC_NONE. */
static uint32_t wrong_memory(const tinc_net *net, const tinc_memory *m) {
    if (m->capacity > TINC_MAX_UNITS || m->count > m->capacity) {
        return AT(tinc_memory, count);
    }
    if (m->features != net->features) {
        return AT(tinc_memory, features);
    }
    if (*tinc_word_at(m, AT(tinc_memory, element_type)) > TINC_MEMORY_4_BIT) { /* nor soft labels */
        return AT(tinc_memory, element_type);
    }
    if (m->stride < tinc_slot_bytes(m) || m->stride > 2u * TINC_MAX_UNITS) {
        return AT(tinc_memory, stride);
    }
    const uint32_t step = tinc_step_before(net, net->header->front_layers);
    const uint32_t offset = tinc_float_bits(m->offset), half = offset == 0 ? 1u << 23 : 0;
    const int q8 = tinc_is_q8(net); /* q = x + 128 in steps of the features, or 2 x */
    if (q8 ? tinc_float_bits(m->step) != step - half : !is_within(&m->step, 1e-9f, 1e6f)) {
        return AT(tinc_memory, step);
    }
    if (q8 ? offset != 0 && offset != (1u << 31 | (step + (7u << 23)))
           : !is_within(&m->offset, -1e6f, 1e6f)) {
        return AT(tinc_memory, offset);
    }
    if (!tinc_all_zero(&m->soft_offset, sizeof *m - AT(tinc_memory, soft_offset))) {
        return AT(tinc_memory, soft_offset);
    }
    const part parts[PARTS] = {
        {AT(tinc_memory, classes_offset), 2u * m->capacity},
        {AT(tinc_memory, weights_offset), 2u * m->capacity},
        {AT(tinc_memory, samples_offset), tinc_product(m->stride, m->capacity)},
    };
    return wrong_part(m, sizeof *m, net->bytes[TINC_MEMORY], parts);
}

static int check_memory(tinc_net *net) {
    const uint32_t bytes = net->bytes[TINC_MEMORY];
    tinc_memory *m = (tinc_memory *)(void *)net->section[TINC_MEMORY];
    if (bytes == 0) {
        return TINC_OK;
    }
    if (bytes < sizeof *m) {
        return tinc_fail(net, TINC_E_MEMORY, 0, bytes, 0);
    }
    const uint32_t wrong = wrong_memory(net, m);
    if (wrong != TINC_NONE) {
        return tinc_fail(net, TINC_E_MEMORY, wrong, *tinc_word_at(m, wrong), 0);
    }
    net->memory = m;
    return TINC_OK;
}

static int fail_state(tinc_net *net, uint32_t field, uint32_t found) {
    return tinc_fail(net, TINC_E_STATE, field, found, 0);
}

/* Settings that lie in a row, from one to another. */
typedef struct {
    uint16_t first, last;
    float low, high;
} tinc_range;

const tinc_range tinc_settings[] = {
    {AT(tinc_state, learning_rate), AT(tinc_state, learning_rate), 1e-9f, 10.0f},
    {AT(tinc_state, static_ratio), AT(tinc_state, d_max), 0.0f, 1.0f},
    {AT(tinc_state, beta), AT(tinc_state, d_threshold), 0.0f, 10.0f},
    {AT(tinc_state, error_threshold), AT(tinc_state, error_threshold), 1e-6f, 1e6f},
    {AT(tinc_state, hidden_ratio), AT(tinc_state, input_threshold), 0.0f, 1.0f},
    {AT(tinc_state, vote), AT(tinc_state, vote), 0.0f, 100.0f},
    {AT(tinc_state, logit_adjustment), AT(tinc_state, logit_adjustment), 0.0f, 20.0f},
    {AT(tinc_state, novelty), AT(tinc_state, novelty), 0.0f, 1e6f},
    {AT(tinc_state, label_smoothing), AT(tinc_state, label_smoothing), 0.0f, 1.0f},
};

static int check_settings(tinc_net *net) {
    const uint8_t *state = (const uint8_t *)net->state;
    for (uint32_t i = 0; i < COUNT(tinc_settings); i++) {
        const tinc_range *range = &tinc_settings[i];
        for (uint32_t field = range->first; field <= range->last; field += 4u) {
            if (!is_within((const void *)(state + field), range->low, range->high)) {
                return fail_state(net, field, 0);
            }
        }
    }
    if (tinc_is_q8(net) && !tinc_is_power(&net->state->learning_rate, 1e-9f, 10.0f)) {
        return fail_state(net, AT(tinc_state, learning_rate), 0);
    }
    return TINC_OK;
}

static int check_layer_states(tinc_net *net) {
    const tinc_layer_state *layer = tinc_layer_states(net);
    for (uint32_t l = 0; l < net->layer_count; l++) {
        const int may_widen = tinc_is_q8(net) && l >= net->header->front_layers;
        const uint32_t most = may_widen ? TINC_MOST_WIDENED : 0;
        if (!is_within(&layer[l].y_max, 0.0f, 3e38f) || layer[l].widened > most) {
            const uint32_t at = l * (uint32_t)sizeof *layer;
            return fail_state(net, net->state->layers_offset + at, layer[l].widened);
        }
    }
    return TINC_OK;
}

const byte_range tinc_state_bytes[] = {
    {AT(tinc_state, rule), 0, TINC_RULE_SAMPLED},
    {AT(tinc_state, label_type), 0, 1},
    {AT(tinc_state, label_bytes), 4, 64},
};

/* The word of the state that is wrong, or TINC_NONE. */
static uint32_t wrong_state(const tinc_net *net) {
    const tinc_state *s = net->state;
    const uint32_t classes = net->layers[net->layer_count - 1].output_shape[0];
    if (s->class_capacity != classes) {
        return AT(tinc_state, class_capacity);
    }
    if (s->generator == 0) {
        return AT(tinc_state, generator);
    }
    if (!tinc_all_zero(s->rates, sizeof s->rates)) {
        return AT(tinc_state, rates);
    }
    if (s->growth > TINC_MAX_UNITS) {
        return AT(tinc_state, growth);
    }
    if (!tinc_all_zero(s->reserved, sizeof s->reserved)) {
        return AT(tinc_state, reserved);
    }
    const part parts[PARTS] = {
        {AT(tinc_state, layers_offset), net->layer_count * (uint32_t)sizeof(tinc_layer_state)},
        {AT(tinc_state, classes_offset), classes * (uint32_t)sizeof(tinc_class_state)},
        {AT(tinc_state, labels_offset), classes * s->label_bytes},
    };
    return wrong_part(s, sizeof *s, net->bytes[TINC_STATE], parts);
}

static int check_state(tinc_net *net) {
    tinc_state *s = (tinc_state *)(void *)net->section[TINC_STATE];
    if (net->bytes[TINC_STATE] < sizeof *s) {
        return fail_state(net, 0, net->bytes[TINC_STATE]);
    }
    net->state = s;
    uint32_t wrong = wrong_byte(s, tinc_state_bytes, COUNT(tinc_state_bytes));
    if (wrong == TINC_NONE && s->label_bytes % 4u != 0) {
        wrong = AT(tinc_state, label_bytes);
    }
    if (wrong != TINC_NONE) {
        return fail_state(net, wrong, ((const uint8_t *)s)[wrong]);
    }
    wrong = wrong_state(net);
    if (wrong != TINC_NONE) {
        return fail_state(net, wrong, *tinc_word_at(s, wrong));
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
