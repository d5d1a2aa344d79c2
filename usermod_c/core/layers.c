/* The layer table of an image: is every layer one that can run, and are its tensors in order?
 *
 * Most checks give the byte of the field that is wrong, or RIGHT. */
#include "check.h"

#define FIELD(name) AT(tinc_layer, name)
#define RIGHT 0u /* the byte of the kind, which is checked first and apart */

static int is_pool(const tinc_layer *layer) {
    return layer->kind == TINC_MAX_POOL || layer->kind == TINC_AVERAGE_POOL;
}

/* Has it a window that moves over an image? */
static int has_window(const tinc_layer *layer) {
    return layer->kind > TINC_DENSE && layer->kind < TINC_ADD;
}

/* Units or output channels. */
static uint32_t units_of(const tinc_layer *layer) {
    return layer->kind == TINC_DENSE ? layer->output_shape[0] : layer->output_shape[2];
}

static int is_last(const tinc_net *net, uint32_t l) {
    return l + 1 == net->layer_count;
}

/* The last layer is dense, and only dense ones follow a dense one: its units in use are no image.
 */
static int is_possible_kind(const tinc_net *net, uint32_t l) {
    const tinc_layer *layer = &net->layers[l];
    const int may_be_image = l == 0 || layer[-1].kind != TINC_DENSE;
    return layer->kind == TINC_DENSE || (layer->kind > TINC_DENSE && layer->kind <= TINC_ADD &&
                                         may_be_image && !is_last(net, l));
}

/* Fields of one byte that kind and format decide. */
static uint32_t wrong_byte(const tinc_net *net, uint32_t l) {
    const tinc_layer *layer = &net->layers[l];
    const int weighted = tinc_has_weights(layer), dense = layer->kind == TINC_DENSE;
    const uint32_t q8 = tinc_is_q8(net) && weighted;
    const int linear = is_last(net, l) || is_pool(layer);
    const uint32_t trained = layer->flags & TINC_TRAIN_WEIGHTS;
    const uint32_t eighths = trained ? 1u << 1 | 1u << 2 | 1u << 4 | 1u << 8 : 1u << 0 | 1u << 8;
    const struct {
        uint8_t field, least, most;
    } bytes[] = {
        {FIELD(activation), dense && !linear ? TINC_RELU : TINC_LINEAR,
         linear ? TINC_LINEAR : TINC_RELU6},
        {FIELD(flags), 0, weighted ? TINC_TRAIN_WEIGHTS | TINC_TRAIN_BIAS : 0},
        {FIELD(update_eighths), 0, 8},
        {FIELD(weight_type), (uint8_t)q8, (uint8_t)(q8 << trained)},
        {FIELD(bias_type), (uint8_t)q8, (uint8_t)q8},
        {FIELD(optimiser_slots), 0, 0},
        {FIELD(rank), dense ? 1 : 3, dense ? 1 : 3},
    };
    for (uint32_t i = 0; i < sizeof bytes / sizeof bytes[0]; i++) {
        const uint32_t value = ((const uint8_t *)layer)[bytes[i].field];
        if (value < bytes[i].least || value > bytes[i].most) {
            return bytes[i].field;
        }
    }
    return eighths >> layer->update_eighths & 1u ? RIGHT : FIELD(update_eighths);
}

/* The window of convolutions and pools. A winner of a max pool and an input of a convolution's
 * output are numbered in a byte and in 16 bits. */
static uint32_t wrong_window(const tinc_layer *layer) {
    const uint32_t taps = (uint32_t)layer->kernel[0] * layer->kernel[1];
    for (uint32_t axis = 0; axis < 2; axis++) {
        const uint32_t kernel = layer->kernel[axis];
        if (kernel < 1) {
            return FIELD(kernel) + axis;
        }
        if (layer->stride[axis] < 1) {
            return FIELD(stride) + axis;
        }
        for (uint32_t side = axis; side < 4; side += 2) {
            if (layer->padding[side] >= kernel) { /* or a window could see nothing */
                return FIELD(padding) + side;
            }
        }
        if (layer->dilation[axis] != 1) {
            return FIELD(dilation) + axis;
        }
    }
    if ((layer->kind == TINC_MAX_POOL && taps > 256) ||
        (layer->kind == TINC_CONV && tinc_product(taps, layer->input_shape[2]) > TINC_MAX_UNITS)) {
        return FIELD(kernel);
    }
    return RIGHT;
}

/* Shape, window, groups and source of an addition, whose source gives what the layer before does,
 * and is still there when a stage before it is done. */
static uint32_t wrong_links(const tinc_net *net, uint32_t l) {
    const tinc_layer *layer = &net->layers[l];
    const uint32_t groups = layer->kind == TINC_CONV        ? 1
                            : layer->kind == TINC_DEPTHWISE ? layer->input_shape[2]
                                                            : 0;
    if (layer->groups != groups) {
        return FIELD(groups);
    }
    if (layer->kind != TINC_ADD) {
        return layer->source == 0xFFFFu ? RIGHT : FIELD(source);
    }
    if (layer->source + 1u >= l || layer->source + 1u < net->header->stage_layers) {
        return FIELD(source);
    }
    for (uint32_t axis = 0; axis < 3; axis++) {
        if (net->layers[layer->source].output_shape[axis] != layer->input_shape[axis]) {
            return FIELD(source);
        }
    }
    return RIGHT;
}

/* Inputs: those of the network, or the output of the layer before. */
static uint32_t wrong_input(const tinc_net *net, uint32_t l) {
    const tinc_layer *layer = &net->layers[l];
    for (uint32_t axis = 0; axis < 3; axis++) {
        const uint32_t size = layer->input_shape[axis];
        const int dense = layer->kind == TINC_DENSE;
        if (size < 1 || size > TINC_MAX_UNITS || (dense && axis > 0 && size != 1) ||
            (!dense && l > 0 && size != layer[-1].output_shape[axis])) {
            return FIELD(input_shape) + 4u * axis;
        }
    }
    return RIGHT;
}

/* Is `out` how often a window fits: (in + padding - kernel) / stride + 1, rounded down? */
static int is_extent(const tinc_layer *layer, uint32_t axis) {
    const uint32_t out = layer->output_shape[axis], stride = layer->stride[axis];
    const uint32_t padded =
        layer->input_shape[axis] + layer->padding[axis] + layer->padding[axis + 2];
    const uint32_t steps = padded - layer->kernel[axis];
    return padded >= layer->kernel[axis] && (out - 1u) * stride <= steps && steps < out * stride;
}

static uint32_t wrong_output(const tinc_layer *layer) {
    const uint32_t *in = layer->input_shape, *out = layer->output_shape;
    uint32_t values = 1;
    for (uint32_t axis = 0; axis < 3; axis++) {
        int right = out[axis] >= 1 && out[axis] <= TINC_MAX_UNITS;
        if (layer->kind == TINC_DENSE) {
            right = right && (axis == 0 || out[axis] == 1);
        } else if (axis < 2 && has_window(layer)) {
            right = right && is_extent(layer, axis);
        } else if (layer->kind != TINC_CONV) {
            right = right && out[axis] == in[axis];
        }
        values = tinc_product(values, right ? out[axis] : 0);
        if (values < 1 || values > TINC_MAX_UNITS) {
            return FIELD(output_shape) + 4u * axis;
        }
    }
    return layer->active == units_of(layer) ||
                   (layer->kind == TINC_DENSE && layer->active < units_of(layer))
               ? RIGHT
               : FIELD(active);
}

/* Places that a layer does not use, what is reserved, and the step of the output. */
static uint32_t wrong_rest(const tinc_net *net, uint32_t l) {
    const tinc_layer *layer = &net->layers[l];
    const int q8 = tinc_is_q8(net), weighted = tinc_has_weights(layer);
    if (!weighted && (layer->weights_offset | layer->bias_offset) != 0) {
        return FIELD(weights_offset);
    }
    if (!(q8 && weighted) && layer->scales_offset != 0) {
        return FIELD(scales_offset);
    }
    const uint32_t step = FIELD(output_step), reserved = FIELD(slots_offset);
    if (!tinc_all_zero(&layer->slots_offset, step - reserved)) {
        return reserved;
    }
    const int has_step = q8 && !is_pool(layer) && !is_last(net, l);
    if (has_step ? !tinc_is_power(&layer->output_step, LEAST_STEP, MOST_STEP)
                 : tinc_float_bits(layer->output_step) != 0) {
        return step;
    }
    if (!tinc_all_zero(&layer->output_zero_point, sizeof *layer - FIELD(output_zero_point))) {
        return FIELD(output_zero_point);
    }
    return RIGHT;
}

static uint32_t wrong_geometry(const tinc_net *net, uint32_t l) {
    const tinc_layer *layer = &net->layers[l];
    uint32_t wrong = RIGHT;
    if (has_window(layer)) {
        wrong = wrong_window(layer);
    } else if (!tinc_all_zero(layer->kernel, 8) || (layer->dilation[0] | layer->dilation[1]) != 0) {
        wrong = FIELD(kernel);
    }
    wrong = wrong == RIGHT ? wrong_output(layer) : wrong;
    wrong = wrong == RIGHT ? wrong_links(net, l) : wrong;
    return wrong == RIGHT ? wrong_rest(net, l) : wrong;
}

/* Name the field, and what is in it; of a step that is 0. */
static int fail_field(tinc_net *net, uint32_t l, uint32_t field) {
    const tinc_layer *layer = &net->layers[l];
    const uint8_t *at = (const uint8_t *)layer + field;
    const uint32_t found = field < FIELD(source)         ? *at
                           : field == FIELD(source)      ? layer->source
                           : field == FIELD(output_step) ? 0
                                                         : *(const uint32_t *)(const void *)at;
    return tinc_fail(net, TINC_E_LAYER_FIELD, l, field, found);
}

/* Bytes of the weights: q8 has pairs of rows, and int8 pairs of inputs as well. */
static uint32_t weight_bytes(const tinc_layer *layer) {
    uint32_t rows = tinc_weight_rows(layer), n = tinc_row_weights(layer), bytes = 4;
    if (layer->weight_type != TINC_WEIGHT_F32) {
        if (layer->kind == TINC_DEPTHWISE) {
            bytes = layer->weight_type;
        } else {
            rows = (rows + 1u) / 2u;
            n = layer->weight_type == TINC_WEIGHT_INT8 ? (n + 1u) / 2u : n;
        }
    }
    return tinc_product(tinc_product(rows, n), bytes);
}

/* Weights, bias and scales lie in their sections. */
static int check_bounds(tinc_net *net, uint32_t l) {
    const tinc_layer *layer = &net->layers[l];
    const uint32_t units = 4u * units_of(layer);
    const struct {
        uint32_t flag, offset, bytes;
    } tensors[] = {
        {TINC_TRAIN_WEIGHTS, layer->weights_offset, weight_bytes(layer)},
        {TINC_TRAIN_BIAS, layer->bias_offset, units},
        {TINC_TRAIN_WEIGHTS, layer->scales_offset, tinc_is_q8(net) ? units : 0},
    };
    for (uint32_t i = 0; i < 3; i++) {
        const int section = layer->flags & tensors[i].flag ? TINC_TRAINED : TINC_FROZEN;
        const uint32_t room = net->bytes[section];
        if (!tinc_fits(tensors[i].offset, tensors[i].bytes, room)) {
            return tinc_fail(net, TINC_E_LAYER_BOUNDS, l, tensors[i].offset, room);
        }
    }
    return TINC_OK;
}

int tinc_check_layer(tinc_net *net, uint32_t l) {
    const tinc_layer *layer = &net->layers[l];
    if (!is_possible_kind(net, l)) {
        return tinc_fail(net, TINC_E_LAYER_KIND, l, layer->kind, TINC_DENSE);
    }
    uint32_t wrong = wrong_byte(net, l);
    wrong = wrong == RIGHT ? wrong_input(net, l) : wrong;
    if (wrong == RIGHT) {
        const uint32_t *in = layer->input_shape;
        const uint32_t inputs = tinc_product(tinc_product(in[0], in[1]), in[2]);
        const uint32_t before = l == 0 ? net->inputs : tinc_layer_capacity(layer - 1);
        if (inputs != before) {
            return tinc_fail(net, TINC_E_LAYER_CHAIN, l, inputs, before);
        }
        wrong = wrong_geometry(net, l);
    }
    if (wrong != RIGHT) {
        return fail_field(net, l, wrong);
    }
    return tinc_has_weights(layer) ? check_bounds(net, l) : TINC_OK;
}

int tinc_check_stage(tinc_net *net) {
    const tinc_header *h = net->header;
    const uint32_t layers = h->stage_layers;
    if (layers >= net->layer_count) {
        return tinc_fail(net, TINC_E_HEADER, AT(tinc_header, stage_layers), layers, 0);
    }
    for (uint32_t l = 0; l < layers; l++) {
        if (!has_window(&net->layers[l]) || net->layers[l].flags != 0) {
            return tinc_fail(net, TINC_E_STAGE, l, 0, 0);
        }
    }
    const uint32_t most = layers == 0 ? 0 : net->layers[layers - 1u].output_shape[0];
    if (h->stage_rows > most || (h->stage_rows == 0 && layers > 0)) {
        return tinc_fail(net, TINC_E_HEADER, AT(tinc_header, stage_rows), h->stage_rows, 0);
    }
    return TINC_OK;
}

/* ---- the values of the tensors ---- */

/* A word is right when what `mask` keeps of it is within [least, least + span] in wrapping
 * arithmetic, and it has no bit of `clear`. */
typedef struct {
    uint32_t mask, least, span, clear;
} word_rule;

static int check_words(tinc_net *net, uint32_t l, const uint32_t *words, uint32_t n,
                       word_rule rule) {
    for (uint32_t i = 0; i < n; i++) {
        if ((words[i] & rule.mask) - rule.least > rule.span || words[i] & rule.clear) {
            return tinc_fail(net, TINC_E_VALUE, l, i, 0);
        }
    }
    return TINC_OK;
}

/* Does an element of q8 weights hold a value that the arithmetic can bear? Trained masters leave
 * room for a step; what only fills up a pair is 0. */
static int is_weight(uint32_t type, uint32_t stored, int fills) {
    if (fills) {
        return stored == (type == TINC_WEIGHT_INT8 ? 128u : 32896u);
    }
    return type == TINC_WEIGHT_INT8 ? stored >= 1 : stored >= 32u << 8 && stored < 224u << 8;
}

/* In the order in which they lie: bits of an element's number say its row and input in the pair. */
static int check_q8_weights(tinc_net *net, uint32_t l) {
    const tinc_layer *layer = &net->layers[l];
    const uint8_t *bytes = tinc_weights(net, layer);
    const uint32_t type = layer->weight_type, rows = tinc_weight_rows(layer);
    const uint32_t n = tinc_row_weights(layer), wide = type == TINC_WEIGHT_INT16;
    const uint32_t row_step = layer->kind == TINC_DEPTHWISE ? 1 : 2;
    const uint32_t input_step = row_step == 2 && !wide ? 2 : 1;
    const uint32_t per_word = row_step * input_step;
    uint32_t element = 0;
    for (uint32_t row = 0; row < rows; row += row_step) {
        for (uint32_t i = 0; i < n; i += input_step) {
            for (uint32_t e = 0; e < per_word; e++, element++) {
                const uint32_t stored =
                    wide ? ((const uint16_t *)(const void *)bytes)[element] : bytes[element];
                const uint32_t down = input_step == 2 ? e >> 1 : e, right = e & (input_step - 1u);
                if (!is_weight(type, stored, row + down >= rows || i + right >= n)) {
                    return tinc_fail(net, TINC_E_VALUE, l, element, 0);
                }
            }
        }
    }
    return TINC_OK;
}

int tinc_check_tensors(tinc_net *net, uint32_t l) {
    const tinc_layer *layer = &net->layers[l];
    if (!tinc_has_weights(layer)) {
        return TINC_OK;
    }
    const word_rule finite = {0x7FFFFFFFu, 0, 0x7F7FFFFFu, 0};
    const word_rule normal = {0xFFFFFFFFu, 0x00800000u, 0x7EFFFFFFu,
                              layer->flags & TINC_TRAIN_WEIGHTS ? 0x007FFFFFu : 0};
    const word_rule bias = {0xFFFFFFFFu, 0xC0000000u, 1u << 31, 0};
    const int q8 = tinc_is_q8(net);
    const uint32_t units = units_of(layer);
    int error;
    if (q8) {
        error = check_q8_weights(net, l);
        error = error ? error : check_words(net, l, tinc_scales(net, layer), units, normal);
    } else {
        error = check_words(net, l, tinc_weights(net, layer),
                            tinc_weight_rows(layer) * tinc_row_weights(layer), finite);
    }
    return error ? error : check_words(net, l, tinc_bias(net, layer), units, q8 ? bias : finite);
}
