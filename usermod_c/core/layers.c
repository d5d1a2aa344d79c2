/* The layer table of an image: is every layer one that can run, and are its tensors in order?
 *
 * Most checks give the byte of the field that is wrong, or RIGHT. */
#include "check.h"
#include "q8.h"

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
    if (layer->activation < (dense && !linear) || layer->activation > (linear ? 0 : TINC_RELU6)) {
        return FIELD(activation);
    }
    if (layer->flags > (weighted ? TINC_TRAIN_WEIGHTS | TINC_TRAIN_BIAS : 0)) {
        return FIELD(flags);
    }
    if (layer->update_eighths > 8 || !(eighths >> layer->update_eighths & 1u)) {
        return FIELD(update_eighths);
    }
    if (layer->weight_type < q8 || layer->weight_type > q8 << trained) {
        return FIELD(weight_type);
    }
    if (layer->bias_type != q8) {
        return FIELD(bias_type);
    }
    if (layer->optimiser_slots != 0) {
        return FIELD(optimiser_slots);
    }
    return layer->rank == (dense ? 1 : 3) ? RIGHT : FIELD(rank);
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
        (layer->kind == TINC_CONV && taps * layer->input_shape[2] > TINC_MAX_UNITS)) {
        return FIELD(kernel);
    }
    return RIGHT;
}

/* Shape, window, groups and source of an addition, whose source gives what the layer before does,
 * and is still there when a stage before it, or the front end, is done. */
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
    const uint32_t front = net->header->front_layers;
    if (layer->source + 1u >= l || layer->source + 1u < net->header->stage_layers ||
        (l >= front && layer->source < front)) {
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

/* Units in use come and go in dense layers alone, and not in the front end. */
static uint32_t wrong_output(const tinc_net *net, uint32_t l) {
    const tinc_layer *layer = &net->layers[l];
    uint32_t values = 1;
    for (uint32_t axis = 0; axis < 3; axis++) {
        const uint32_t size = layer->output_shape[axis];
        int right = size == layer->input_shape[axis] || (layer->kind == TINC_CONV && axis == 2);
        if (layer->kind == TINC_DENSE) {
            right = axis == 0 || size == 1;
        } else if (axis < 2 && has_window(layer)) {
            right = is_extent(layer, axis);
        }
        values *= size; /* below 2^32 unless the size is wrong */
        if (!right || size < 1 || size > TINC_MAX_UNITS || values > TINC_MAX_UNITS) {
            return FIELD(output_shape) + 4u * axis;
        }
    }
    const uint32_t units = units_of(layer);
    const int all = layer->kind != TINC_DENSE || l < net->header->front_layers;
    return layer->active > units || (all && layer->active < units) ? FIELD(active) : RIGHT;
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
    wrong = wrong == RIGHT ? wrong_output(net, l) : wrong;
    wrong = wrong == RIGHT ? wrong_links(net, l) : wrong;
    return wrong == RIGHT ? wrong_rest(net, l) : wrong;
}

/* Name the field, and what is in it; of a step that is 0. */
static int fail_field(tinc_net *net, uint32_t l, uint32_t field) {
    const tinc_layer *layer = &net->layers[l];
    const uint32_t found = field < FIELD(source)         ? ((const uint8_t *)layer)[field]
                           : field == FIELD(source)      ? layer->source
                           : field == FIELD(output_step) ? 0
                                                         : *tinc_word_at(layer, field);
    return tinc_fail(net, TINC_E_LAYER_FIELD, field, found, l);
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

/* Weights, bias and scales, whose offsets lie in a row, lie in their sections. */
static int check_bounds(tinc_net *net, uint32_t l) {
    const tinc_layer *layer = &net->layers[l];
    const uint32_t tensors = tinc_is_q8(net) ? 3 : 2;
    uint32_t bytes = weight_bytes(layer);
    for (uint32_t i = 0; i < tensors; i++) {
        const uint32_t offset = *tinc_word_at(layer, FIELD(weights_offset) + 4u * i);
        const uint32_t flag = i == 1 ? TINC_TRAIN_BIAS : TINC_TRAIN_WEIGHTS;
        const uint32_t room = net->bytes[layer->flags & flag ? TINC_TRAINED : TINC_FROZEN];
        if (!tinc_fits(offset, bytes, room)) {
            return tinc_fail(net, TINC_E_LAYER_BOUNDS, l, offset, room);
        }
        bytes = 4u * units_of(layer);
    }
    return TINC_OK;
}

int tinc_check_layer(tinc_net *net, uint32_t l) {
    const tinc_layer *layer = &net->layers[l];
    if (!is_possible_kind(net, l)) {
        return tinc_fail(net, TINC_E_LAYER_KIND, l, layer->kind, 0);
    }
    if (l < net->header->front_layers && layer->flags != 0) {
        return tinc_fail(net, TINC_E_FRONT, l, 0, 0);
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

#if TINYINC_F32

static int check_floats(tinc_net *net, uint32_t l, const float *values, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        if (!tinc_is_finite(values[i])) {
            return tinc_fail(net, TINC_E_VALUE, l, i, 0);
        }
    }
    return TINC_OK;
}

static int f32_check_tensors(tinc_net *net, uint32_t l) {
    const tinc_layer *layer = &net->layers[l];
    const int error = check_floats(net, l, tinc_weights(net, layer),
                                   tinc_weight_rows(layer) * tinc_row_weights(layer));
    return error ? error : check_floats(net, l, tinc_bias(net, layer), units_of(layer));
}

#endif

/* A word per unit is right when it is in [least, least + span], in arithmetic that wraps around,
 * and has no bit of `clear`. */
typedef struct {
    uint32_t least, span, clear;
} tinc_word_rule;

/* Scales are normal and positive, trained ones powers of two. */
const tinc_word_rule tinc_scale_rules[] = {{1u << 23, 0x7EFFFFFFu, 0},
                                           {1u << 23, 0x7EFFFFFFu, 0x007FFFFFu}};
const tinc_word_rule tinc_bias_rule = {0xC0000000u, 1u << 31, 0};

static int check_words(tinc_net *net, uint32_t l, const uint32_t *words,
                       const tinc_word_rule *rule) {
    const uint32_t n = units_of(&net->layers[l]);
    for (uint32_t i = 0; i < n; i++) {
        if (words[i] - rule->least > rule->span || words[i] & rule->clear) {
            return tinc_fail(net, TINC_E_VALUE, l, i, 0);
        }
    }
    return TINC_OK;
}

/* Is it a value that the arithmetic can bear? Trained masters leave room for a step. */
static int is_weight(int32_t w, uint32_t wide) {
    return wide ? (uint32_t)(w + (96 << 8) + 128) < 192u << 8 : w >= -127;
}

/* What only fills up a pair, of rows or of int8 inputs, is 0. */
static int check_weights(tinc_net *net, uint32_t l) {
    const tinc_layer *layer = &net->layers[l];
    const uint32_t rows = units_of(layer), pairs = layer->kind != TINC_DEPTHWISE;
    for (uint32_t index = 0; index < rows + (rows & pairs); index++) {
        const q8_row row = tinc_q8_row(net, layer, index);
        const uint32_t n = row.n + (row.n & pairs & ~row.wide);
        for (uint32_t i = 0; i < n; i++) {
            const int32_t w = tinc_q8_read(&row, i);
            if (index < rows && i < row.n ? !is_weight(w, row.wide) : w != 0) {
                const uint8_t *weights = tinc_weights(net, layer), *at = tinc_q8_weight(&row, i);
                return tinc_fail(net, TINC_E_VALUE, l, (uint32_t)(at - weights) >> row.wide, 0);
            }
        }
    }
    return TINC_OK;
}

static int q8_check_tensors(tinc_net *net, uint32_t l) {
    const tinc_layer *layer = &net->layers[l];
    const tinc_word_rule *scale = &tinc_scale_rules[layer->flags & TINC_TRAIN_WEIGHTS];
    int error = check_weights(net, l);
    error = error ? error : check_words(net, l, tinc_scales(net, layer), scale);
    return error ? error : check_words(net, l, tinc_bias(net, layer), &tinc_bias_rule);
}

int tinc_check_tensors(tinc_net *net, uint32_t l) {
    return tinc_has_weights(&net->layers[l]) ? FORMAT_CALL(net, check_tensors(net, l)) : TINC_OK;
}
