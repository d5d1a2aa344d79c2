/* What needs which scratch, and when. Nothing is allocated: a call plans its scratch into the
 * scratch itself, a table of tensors first, and the tensors behind it. */
#include "internal.h"

static uint32_t round_up(uint32_t bytes) {
    return (bytes + 7u) & ~7u;
}

static uint32_t table_bytes(const tinc_net *net) {
    return 8u + net->layer_count * TINC_ROLES * (uint32_t)sizeof(tinc_tensor);
}

static uint32_t first_trained(const tinc_net *net) {
    uint32_t l = 0;
    while (l < net->layer_count && net->layers[l].flags == 0) {
        l++;
    }
    return l;
}

/* The last layer that takes a layer's output: the next, or an addition further up. */
static uint32_t last_reader(const tinc_net *net, uint32_t l) {
    uint32_t reader = net->layer_count - 1u;
    while (reader > l + 1 && net->layers[reader].source != l) {
        reader--;
    }
    return reader;
}

uint32_t tinc_most_listed(const tinc_net *net, uint32_t l) {
    const uint32_t all = tinc_layer_capacity(&net->layers[l]);
    if (l + 1 == net->layer_count || net->layers[l + 1].kind != TINC_MAX_POOL ||
        last_reader(net, l) > l + 1) {
        return all;
    }
    const uint32_t windows = tinc_layer_capacity(&net->layers[l + 1]);
    return windows < all ? windows : all;
}

/* Bytes of one value that a layer gives; the logits of a q8 network are int32. */
static uint32_t value_bytes(const tinc_net *net, uint32_t l) {
    return tinc_is_q8(net) && l + 1 < net->layer_count ? 1u : 4u;
}

/* Of a layer within the stage that runs strip by strip: the most rows that a strip needs of it. */
static uint32_t strip_rows(const tinc_net *net, uint32_t l) {
    uint32_t rows = net->header->stage_rows;
    for (uint32_t above = net->header->stage_layers; --above > l;) {
        const tinc_layer *layer = &net->layers[above];
        rows = (rows - 1u) * layer->stride[0] + layer->kernel[0];
        rows = rows < layer->input_shape[0] ? rows : layer->input_shape[0];
    }
    const uint32_t height = net->layers[l].output_shape[0];
    return rows < height ? rows : height;
}

static void set(tinc_tensor *tensor, uint32_t bytes, uint32_t first, uint32_t last) {
    *tensor = (tinc_tensor){0, round_up(bytes), (uint16_t)first, (uint16_t)last, 0, 0};
}

static void plan_forward(const tinc_net *net, uint32_t l, tinc_tensor *tensors) {
    const tinc_layer *layer = &net->layers[l];
    const uint32_t stage = net->header->stage_layers;
    const int last = l + 1 == net->layer_count;
    uint32_t values = tinc_layer_capacity(layer);
    if (l + 1 < stage) {
        values = strip_rows(net, l) * layer->output_shape[1] * layer->output_shape[2];
    }
    /* the layers of a stage take turns, strip by strip, until it is done */
    const uint32_t from = l < stage ? 0 : l, to = l < stage ? stage - 1u : l;
    const uint32_t reader = last ? l + 1u : (l + 1 < stage ? to : last_reader(net, l));
    set(&tensors[TINC_VALUES], values * value_bytes(net, l), from, reader);
    set(&tensors[TINC_FORWARD], TINC_CALL(net, forward_room(net, l)), from, to);
}

static void plan_backward(const tinc_net *net, uint32_t l, uint32_t first, tinc_tensor *tensors) {
    const tinc_layer *layer = &net->layers[l];
    const uint32_t moment = tinc_backward_moment(net, l), values = tinc_layer_capacity(layer);
    const int last = l + 1 == net->layer_count;
    if (!last && layer[1].flags & TINC_TRAIN_WEIGHTS) {
        tensors[TINC_VALUES].last = (uint16_t)(moment - 1u);
    }
    if (l < first && !last) { /* the loss puts its gradient at the last, trained or not */
        return;
    }
    const uint32_t from = last ? moment : tinc_backward_moment(net, last_reader(net, l));
    set(&tensors[TINC_DELTA], 4u * values, from, moment);
    if (layer->activation != TINC_LINEAR) {
        set(&tensors[TINC_MASK], (values + 7u) / 8u, l, moment - 1u);
    }
    if (layer->kind == TINC_MAX_POOL && l > first) {
        set(&tensors[TINC_WINNERS], values, l, moment);
    }
    if (tinc_has_weights(layer)) {
        const uint32_t list = round_up(2u * tinc_most_listed(net, l));
        set(&tensors[TINC_BACKWARD], list + TINC_CALL(net, backward_room(net, l)), moment, moment);
    }
}

void *tinc_backward_room(const tinc_work *work, uint32_t l) {
    uint8_t *list = tinc_place(work, l, TINC_BACKWARD);
    return list + round_up(2u * tinc_most_listed(work->net, l));
}

/* Depthwise convolution takes one channel at a time: where nobody needs its input any more, and its
 * output is as large, it works in place. */
static void share(const tinc_net *net, uint32_t l, tinc_tensor *tensors) {
    const tinc_layer *layer = &net->layers[l];
    tinc_tensor *out = &tensors[l * TINC_ROLES + TINC_VALUES], *in = out - TINC_ROLES;
    if (layer->kind != TINC_DEPTHWISE || l < 1u || l <= net->header->stage_layers ||
        in->last != l || in->bytes != out->bytes) {
        return;
    }
    tinc_tensor *room = &tensors[l * TINC_ROLES + TINC_FORWARD];
    const uint32_t plane = layer->output_shape[0] * layer->output_shape[1] * value_bytes(net, l);
    room->bytes += round_up(plane);
    in->last = out->last;
    out->bytes = 0;
}

static int together(const tinc_tensor *a, const tinc_tensor *b) {
    return a->first <= b->last && b->first <= a->last;
}

/* Of indices that are in the order of the tensors' offsets, move the last, order[at], to its place.
 */
static void sort_in(const tinc_tensor *tensors, uint8_t *order, uint32_t at) {
    const uint8_t index = order[at];
    const uint32_t offset = tensors[index].offset;
    for (; at > 0 && tensors[order[at - 1u]].offset > offset; at--) {
        order[at] = order[at - 1u];
    }
    order[at] = index;
}

/* The lowest offset at which a tensor overlaps none of the n placed, in the order of theirs. */
static uint32_t lowest_offset(const tinc_tensor *tensor, const tinc_tensor *tensors,
                              const uint8_t *placed, uint32_t n, uint32_t base) {
    uint32_t offset = base;
    for (const uint8_t *const end = placed + n; placed < end; placed++) {
        const tinc_tensor *other = &tensors[*placed];
        const uint32_t other_end = other->offset + other->bytes;
        if (other->offset >= offset + tensor->bytes) {
            break;
        }
        if (other_end > offset && together(tensor, other)) {
            offset = other_end;
        }
    }
    return offset;
}

/* Place the largest first: the small ones then fill the gaps. Returns the bytes needed. */
static uint32_t place(tinc_tensor *tensors, uint32_t count, uint32_t base) {
    uint8_t order[TINC_MAX_LAYERS * TINC_ROLES]; /* of those placed, and behind them the others */
    uint32_t waiting = 0, needed = base;
    for (uint32_t i = 0; i < count; i++) {
        if (tensors[i].bytes > 0) {
            tensors[i].offset = ~tensors[i].bytes; /* the largest is lowest */
            order[waiting] = (uint8_t)i;
            sort_in(tensors, order, waiting++);
        }
    }
    for (uint32_t placed = 0; placed < waiting; placed++) {
        tinc_tensor *tensor = &tensors[order[placed]];
        tensor->offset = lowest_offset(tensor, tensors, order, placed, base);
        sort_in(tensors, order, placed);
        const uint32_t end = tensor->offset + tensor->bytes;
        needed = end > needed ? end : needed;
    }
    return needed;
}

/* The layers that a kind of work runs. */
static uint32_t first_layer(const tinc_net *net, int work) {
    return work == TINC_EXTRACT ? 0 : net->header->front_layers;
}

static uint32_t behind_layers(const tinc_net *net, int work) {
    return work == TINC_EXTRACT ? net->header->front_layers : net->layer_count;
}

size_t tinc_plan(const tinc_net *net, int work, tinc_tensor *tensors) {
    const uint32_t count = net->layer_count * TINC_ROLES;
    const uint32_t from = first_layer(net, work), to = behind_layers(net, work);
    const uint32_t first = first_trained(net);
    for (uint32_t i = 0; i < count; i++) {
        set(&tensors[i], 0, 0, 0);
    }
    for (uint32_t l = from; l < to; l++) {
        plan_forward(net, l, &tensors[l * TINC_ROLES]);
        if (work == TINC_LEARN) {
            plan_backward(net, l, first, &tensors[l * TINC_ROLES]);
        }
    }
    for (uint32_t l = to; l-- > from;) { /* from the end: a chain of them shares one place */
        share(net, l, tensors);
    }
    const uint32_t needed = place(tensors, count, table_bytes(net));
    for (uint32_t l = from; l < to; l++) {
        tinc_tensor *values = &tensors[l * TINC_ROLES + TINC_VALUES];
        if (values->bytes == 0) {
            values->offset = values[-TINC_ROLES].offset;
            values->bytes = values[-TINC_ROLES].bytes;
        }
    }
    return needed;
}

size_t tinc_scratch_bytes(const tinc_net *net, int work) {
    tinc_tensor tensors[net->layer_count * TINC_ROLES];
    const size_t extract = tinc_plan(net, TINC_EXTRACT, tensors);
    const size_t needed = tinc_plan(net, work, tensors);
    return extract > needed ? extract : needed;
}

int tinc_begin(tinc_net *net, const void *x, int kind, void *scratch, size_t bytes,
               tinc_work *work) {
    uint32_t *busy = scratch;
    if ((uintptr_t)scratch % 8u != 0) {
        return tinc_fail(net, TINC_E_ALIGNMENT, TINC_SECTIONS, 0, 0);
    }
    if (bytes >= 4 && *busy != 0) {
        return tinc_fail(net, TINC_E_BUSY, 0, 0, 0);
    }
    tinc_tensor *tensors = (tinc_tensor *)(void *)(busy + 2);
    const size_t needed =
        bytes < table_bytes(net) ? tinc_scratch_bytes(net, kind) : tinc_plan(net, kind, tensors);
    if (bytes < needed) {
        return tinc_fail(net, TINC_E_SCRATCH, 0, (uint32_t)bytes, (uint32_t)needed);
    }
    *busy = 1;
    net->fault.code = TINC_OK;
    *work = (tinc_work){.net = net,
                        .busy = busy,
                        .tensors = tensors,
                        .scratch = scratch,
                        .x = x,
                        .learning = kind == TINC_LEARN,
                        .from = first_layer(net, kind),
                        .to = behind_layers(net, kind),
                        .first = first_trained(net)};
    return TINC_OK;
}

extern inline tinc_tensor *tinc_tensor_of(const tinc_work *work, uint32_t l, unsigned role);
extern inline void *tinc_place(const tinc_work *work, uint32_t l, unsigned role);

const void *tinc_input(const tinc_work *work, uint32_t l) {
    return l == work->from ? work->x : tinc_place(work, l - 1, TINC_VALUES);
}
