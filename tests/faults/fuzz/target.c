/* Fuzz target: an input is a short program and an image; the program's calls run on the image.
 *
 *     byte 0         1: the CRCs are made right before the image is checked; 0: it is as it is
 *     byte 1         how many operations, modulo 32
 *     8 bytes each   an operation: what, a, b, c, uint32 value
 *     the rest       an image file, damaged at will
 *
 * Every buffer is a heap block of exactly the size that the core was told, so that
 * AddressSanitizer sees each byte outside. Whatever the input: no bad access, no undefined
 * behaviour, no output out of range, and no buffer changed by a call that failed. A network that
 * was accepted, and that nobody but the core changed, stays one that is accepted.
 *
 * driver.c feeds it. It is a target for libFuzzer as well, from tests/faults/fuzz:
 *     clang -g -O1 -fsanitize=fuzzer,address,undefined,float-cast-overflow \
 *         -I../../../usermod_c/core target.c ../../../usermod_c/core/[a-z]*.c && ./a.out ../corpus
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

#define REQUIRE(condition)                                                                         \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "target.c:%d: not so: %s\n", __LINE__, #condition);                    \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

enum { MOST_OPERATIONS = 32, PROGRAM_BYTES = 2, OPERATION_BYTES = 8 };

typedef struct {
    uint8_t what, a, b, c;
    uint32_t value;
} operation;

typedef struct {
    void *section[TINC_SECTIONS];
    size_t bytes[TINC_SECTIONS];
    tinc_net net;
    int poked; /* somebody else wrote into the sections: only safety is promised */
} network;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- buffers ---- */

static void *block(size_t bytes) {
    void *made = malloc(bytes == 0 ? 1 : bytes);
    REQUIRE(made != NULL);
    return made;
}

static void *block_of(const uint8_t *data, size_t bytes) {
    void *made = block(bytes);
    if (bytes > 0) {
        memcpy(made, data, bytes);
    }
    return made;
}

static uint32_t next(uint32_t *generator) {
    *generator ^= *generator << 13;
    *generator ^= *generator >> 17;
    *generator ^= *generator << 5;
    return *generator;
}

/* n values: all the same, random small ones, random bits, or one among zeros. */
static float *new_values(const operation *op, uint32_t n) {
    float *x = block(n * sizeof *x);
    uint32_t generator = op->value | 1u;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t bits = op->value;
        switch (op->c % 4u) {
        case 0:
            break;
        case 1:
            x[i] = (float)(int32_t)next(&generator) / 1e9f;
            continue;
        case 2:
            bits = next(&generator);
            break;
        default:
            bits = i % 256u == op->b ? bits : 0;
        }
        memcpy(&x[i], &bits, sizeof bits);
    }
    return x;
}

static uint8_t *new_bytes(const operation *op, uint32_t n) {
    uint8_t *q = block(n);
    uint32_t generator = op->value | 1u;
    for (uint32_t i = 0; i < n; i++) {
        q[i] = (uint8_t)(op->c % 2u ? next(&generator) : op->value);
    }
    return q;
}

/* Normalised values for the network's arithmetic, int8 of any value in q8. */
static void *new_sample(const network *n, const operation *op, uint32_t count) {
    return tinc_is_q8(&n->net) ? (void *)new_bytes(op, count) : (void *)new_values(op, count);
}

/* Small numbers, and some that nothing has so many of. */
static uint32_t number(uint8_t byte) {
    static const uint32_t hostile[] = {0xFFFFFFFFu, 0xFFFFFFFEu, 0x80000000u, 0x7FFFFFFFu,
                                       0x3FFFFFFFu, 0x10000u,    0xFFFFu,     0x8000u};
    return byte < 248 ? byte : hostile[byte - 248];
}

/* ---- the network ---- */

static int is_finite(float x) {
    return x - x == 0.0f;
}

static int open_net(network *n) {
    return tinc_open(&n->net, n->section, n->bytes);
}

static uint32_t classes(const network *n) {
    return n->net.layers[n->net.layer_count - 1].active;
}

/* A sum over all sections, to see that none changed. */
static uint64_t contents(const network *n) {
    uint64_t sum = 0;
    for (int kind = 0; kind < TINC_SECTIONS; kind++) {
        const uint64_t *words = n->section[kind];
        for (size_t i = 0; i < n->bytes[kind] / 8; i++) {
            sum = (sum ^ words[i]) * 0x9E3779B97F4A7C15u;
            sum ^= sum >> 29;
        }
    }
    return sum;
}

/* Every fault can be put into words, which fit. */
static void describe(const tinc_fault *fault) {
    char *text = block(TINC_TEXT_BYTES);
    tinc_describe(fault, text);
    REQUIRE(memchr(text, '\0', TINC_TEXT_BYTES) != NULL);
    free(text);
}

static int overlap(uint32_t a, uint32_t a_bytes, uint32_t b, uint32_t b_bytes) {
    return a < b + b_bytes && b < a + a_bytes;
}

static uint32_t weight_bytes(const tinc_net *net, const tinc_layer *layer) {
    const uint32_t rows = tinc_weight_rows(layer), n = tinc_row_weights(layer);
    if (!tinc_is_q8(net)) {
        return 4u * rows * n;
    }
    if (layer->kind == TINC_DEPTHWISE) {
        return rows * n * layer->weight_type;
    }
    return (rows + 1) / 2 * 4u * (layer->weight_type == TINC_WEIGHT_INT16 ? n : (n + 1) / 2);
}

/* Trained tensors as offset and bytes; how many there are. */
static int list_tensors(const tinc_net *net, uint32_t tensors[][2]) {
    int count = 0;
    for (uint32_t l = 0; l < net->layer_count; l++) {
        const tinc_layer *layer = &net->layers[l];
        const uint32_t units = layer->output_shape[layer->kind == TINC_DENSE ? 0 : 2];
        const uint32_t found[3][2] = {{layer->bias_offset, 4u * units},
                                      {layer->weights_offset, weight_bytes(net, layer)},
                                      {layer->scales_offset, tinc_is_q8(net) ? 4u * units : 0}};
        const int first = layer->flags & TINC_TRAIN_BIAS ? 0 : 1;
        for (int i = first; i < (layer->flags & TINC_TRAIN_WEIGHTS ? 3 : 1); i++) {
            memcpy(tensors[count++], found[i], sizeof found[i]);
        }
    }
    return count;
}

static int any_overlap(uint32_t parts[][2], int count) {
    int found = 0;
    for (int i = 0; i < count; i++) {
        for (int j = 0; j < i; j++) {
            found |= overlap(parts[i][0], parts[i][1], parts[j][0], parts[j][1]);
        }
    }
    return found;
}

/* Tables and tensors that overlap are harmless, but then using one damages the other. */
static int has_overlaps(const tinc_net *net) {
    const tinc_state *s = net->state;
    uint32_t tables[3][2] = {
        {s->layers_offset, 8u * net->layer_count},
        {s->classes_offset, 8u * s->class_capacity},
        {s->labels_offset, s->label_bytes * s->class_capacity},
    };
    uint32_t tensors[3 * TINC_MAX_LAYERS][2];
    int found = any_overlap(tables, 3) | any_overlap(tensors, list_tensors(net, tensors));
    const tinc_memory *m = net->memory;
    if (m != NULL) {
        uint32_t slots[3][2] = {{m->weights_offset, 2u * m->capacity},
                                {m->classes_offset, 2u * m->capacity},
                                {m->samples_offset, m->stride * m->capacity}};
        found |= any_overlap(slots, 3);
    }
    return found;
}

/* A few bytes can describe work for minutes. */
static int takes_long(const tinc_net *net) {
    uint64_t work = 0;
    for (uint32_t l = 0; l < net->layer_count; l++) {
        const tinc_layer *layer = &net->layers[l];
        const int dense = layer->kind == TINC_DENSE, conv = layer->kind == TINC_CONV;
        const uint64_t taps = layer->kind == TINC_ADD ? 1 : layer->kernel[0] * layer->kernel[1];
        work += (uint64_t)tinc_layer_capacity(layer) * (dense  ? layer->input_shape[0]
                                                        : conv ? taps * layer->input_shape[2]
                                                               : taps);
    }
    return work > 2000000;
}

/* ---- operations ---- */

typedef struct {
    void *base;
    void *scratch;
    size_t bytes;
} workspace;

/* The plan of the scratch fits into what the core says it needs, and every tensor lies in it. */
static void require_plan(const network *n, int work, size_t bytes) {
    const uint32_t count = n->net.layer_count * TINC_ROLES;
    tinc_tensor *tensors = block(count * sizeof *tensors);
    const size_t needed = tinc_plan(&n->net, work, tensors);
    REQUIRE(needed == bytes || (n->net.header->front_layers > 0 && needed < bytes));
    bytes = needed;
    for (uint32_t i = 0; i < count; i++) {
        REQUIRE(tensors[i].bytes == 0 ||
                (tensors[i].offset <= bytes && tensors[i].bytes <= bytes - tensors[i].offset));
    }
    free(tensors);
}

/* The scratch that the core asks for, at its exact end; or a bad one. */
static workspace new_scratch(const network *n, const operation *op, int kind) {
    workspace work = {NULL, NULL, tinc_scratch_bytes(&n->net, kind)};
    require_plan(n, kind, work.bytes);
    const size_t shift = op->c == 255 ? 4 : 0;
    work.bytes -= op->c == 254 ? 1 : 0;
    work.base = block(shift + work.bytes);
    memset(work.base, 0xA5, shift + work.bytes);
    work.scratch = (uint8_t *)work.base + shift;
    memset(work.scratch, op->c == 253 ? 1 : 0, 4);
    return work;
}

static void require_probabilities(const float *probabilities, uint32_t n, uint32_t largest) {
    float sum = 0.0f;
    REQUIRE(largest < n);
    for (uint32_t i = 0; i < n; i++) {
        REQUIRE(probabilities[i] >= 0.0f && probabilities[i] <= probabilities[largest]);
        sum += probabilities[i];
    }
    REQUIRE(sum > 0.99f && sum < 1.01f);
}

/* Infer, and where there is a memory, let it vote on the result. */
static int infer(network *n, const operation *op, const void *x) {
    const workspace work = new_scratch(n, op, TINC_INFER);
    float *probabilities = block(classes(n) * sizeof *probabilities);
    const int cls = tinc_infer(&n->net, x, probabilities, work.scratch, work.bytes);
    if (cls >= 0) {
        require_probabilities(probabilities, classes(n), (uint32_t)cls);
        uint8_t *q = new_bytes(op, n->net.features);
        const int voted = tinc_vote(&n->net, q, probabilities);
        require_probabilities(probabilities, classes(n), (uint32_t)voted);
        free(q);
    }
    free(probabilities);
    free(work.base);
    return cls;
}

static void check_report(const network *n, const uint32_t *counts, const float *figures) {
    REQUIRE(counts[TINC_STEP_SKIPPED] <= 1 && counts[TINC_STEP_PREDICTED] < classes(n));
    for (uint32_t l = 0; l < n->net.layer_count; l++) {
        REQUIRE(counts[TINC_STEP_K + l] <= tinc_layer_outputs(&n->net.layers[l]));
    }
    REQUIRE(is_finite(figures[TINC_STEP_LOSS]) && figures[TINC_STEP_LOSS] > -1e-3f);
    REQUIRE(figures[TINC_STEP_ERROR] >= 0.0f && figures[TINC_STEP_ERROR] < 2.01f);
    REQUIRE(figures[TINC_STEP_PROBABILITY] >= 0.0f && figures[TINC_STEP_PROBABILITY] <= 1.0f);
}

/* A lesson, or a step on an exemplar of another class, for which x is the room. */
static int learn(network *n, const operation *op, void *x, uint32_t target, int lesson) {
    const workspace work = new_scratch(n, op, TINC_LEARN);
    uint32_t *counts = block((TINC_STEP_K + n->net.layer_count) * sizeof *counts);
    float *figures = block(TINC_STEP_FIGURES * sizeof *figures);
    const int result =
        lesson ? tinc_learn(&n->net, x, target, counts, figures, work.scratch, work.bytes)
               : tinc_replay(&n->net, target, x, counts, figures, work.scratch, work.bytes);
    if (result >= TINC_OK) {
        check_report(n, counts, figures);
    }
    free(figures);
    free(counts);
    free(work.base);
    return result;
}

static int is_valid(const network *n, const void *x, uint32_t count) {
    int valid = 1;
    for (uint32_t i = 0; i < count; i++) {
        valid &=
            tinc_is_q8(&n->net) ? ((const int8_t *)x)[i] >= -127 : is_finite(((const float *)x)[i]);
    }
    return valid;
}

/* The features of a sample, and a step on them. */
static int use_front(network *n, const operation *op, const void *x) {
    const workspace work = new_scratch(n, op, TINC_EXTRACT);
    void *features = block(tinc_feature_bytes(&n->net));
    uint32_t macs;
    int result = tinc_extract(&n->net, x, features, &macs, work.scratch, work.bytes);
    if (result == TINC_OK) {
        REQUIRE(is_valid(n, features, n->net.features));
        REQUIRE(macs == 0 || n->net.header->front_layers > 0);
        result = learn(n, op, features, number(op->a), 1);
    }
    free(features);
    free(work.base);
    return result;
}

static int extract(network *n, const operation *op) {
    void *x = new_sample(n, op, n->net.inputs);
    const int result = use_front(n, op, x);
    free(x);
    return result;
}

static int use_sample(network *n, const operation *op, int learning) {
    void *x = new_sample(n, op, n->net.features);
    const int result = learning ? learn(n, op, x, number(op->a), 1) : infer(n, op, x);
    free(x);
    return result;
}

static int is_clipped(const network *n, const void *x) {
    const tinc_header *h = n->net.header;
    int clipped = 1;
    for (uint32_t i = 0; i < n->net.inputs; i++) {
        if (tinc_is_q8(&n->net)) {
            clipped &= ((const int8_t *)x)[i] >= -127;
        } else {
            const float value = ((const float *)x)[i];
            clipped &= value >= h->input_low && value <= h->input_high;
        }
    }
    return clipped;
}

/* Raw values of a type, seldom the wrong number or misaligned, and a step on what they become. */
static int use_raw(network *n, const operation *op) {
    static const struct {
        int typecode;
        uint32_t size;
    } types[] = {{'b', 1}, {'B', 1}, {'h', 2}, {'H', 2}, {'f', 4}, {'d', 8}};
    const int type = op->b % 6;
    const uint32_t count = n->net.inputs + (op->c == 252) - (op->c == 251);
    const uint32_t shift = op->c == 250, bytes = count * types[type].size;
    uint8_t *raw = block(shift + bytes);
    float *values = new_values(op, bytes / 4 + 1);
    memcpy(raw + shift, values, bytes);
    void *x = block(tinc_sample_bytes(&n->net));
    int result = tinc_normalise(&n->net, raw + shift, count, types[type].typecode, x);
    if (result == TINC_OK) {
        REQUIRE(is_clipped(n, x));
        result = use_front(n, op, x);
    }
    free(x);
    free(values);
    free(raw);
    return result;
}

static int recall(network *n, uint32_t slot, const operation *op, int learning) {
    void *x = block(tinc_feature_bytes(&n->net));
    int result = tinc_recall(&n->net, slot, x);
    REQUIRE(result < 0 || n->poked || (uint32_t)result < classes(n));
    for (uint32_t i = 0; result >= 0 && !tinc_is_q8(&n->net) && i < n->net.features; i++) {
        REQUIRE(is_finite(((const float *)x)[i]));
    }
    if (result >= 0 && learning) {
        result = learn(n, op, x, (uint32_t)result, 1);
    }
    free(x);
    return result;
}

/* Choose a slot and learn it, as a replay does. */
static int replay(network *n, const operation *op) {
    const int slot = tinc_choose(&n->net, number(op->a));
    if (slot < 0) {
        n->net.fault.code = slot;
        return slot;
    }
    REQUIRE(n->net.memory != NULL && (uint32_t)slot < n->net.memory->count);
    recall(n, (uint32_t)slot, op, 1);
    return slot;
}

/* The choice counts even when the step is refused. */
static int replay_step(network *n, const operation *op) {
    void *x = block(tinc_feature_bytes(&n->net));
    const int result = learn(n, op, x, number(op->a), 0);
    REQUIRE(result < 0 || (uint32_t)result < classes(n));
    free(x);
    return TINC_OK;
}

static int remember(network *n, const operation *op) {
    void *x = new_sample(n, op, n->net.features);
    uint8_t *q = block(n->net.features);
    int result = tinc_quantise(&n->net, x, q);
    if (result == TINC_OK) {
        result = tinc_remember(&n->net, number(op->b), q, number(op->a));
    }
    free(q);
    free(x);
    return result;
}

/* Vote on any numbers, and on no class at all. */
static int vote(network *n, const operation *op) {
    float *probabilities = new_values(op, classes(n));
    uint8_t *q = new_bytes(op, n->net.features);
    const int cls = tinc_vote(&n->net, q, probabilities);
    REQUIRE(cls < 0 || (uint32_t)cls < classes(n));
    n->net.fault.code = cls < 0 ? cls : TINC_OK;
    free(q);
    free(probabilities);
    return cls;
}

static int nearest(network *n, const operation *op) {
    uint8_t *q = new_bytes(op, n->net.features);
    uint32_t distance;
    const int slot = tinc_nearest(&n->net, q, number(op->a), &distance);
    REQUIRE(slot < 0 || (uint32_t)slot < n->net.memory->count);
    n->net.fault.code = slot < 0 ? slot : TINC_OK;
    free(q);
    return slot;
}

static int move(network *n, const operation *op) {
    uint8_t *q = new_bytes(op, n->net.features);
    const int result = tinc_move(&n->net, number(op->a), q);
    free(q);
    return result;
}

static int follow(network *n, const operation *op) {
    void *x = new_sample(n, op, n->net.features);
    uint8_t *q = block(n->net.features);
    const int slot = tinc_follow(&n->net, x, number(op->a), q);
    REQUIRE(slot < 0 || (uint32_t)slot < n->net.memory->count);
    free(q);
    free(x);
    return TINC_OK;
}

static int least_useful(network *n, const operation *op) {
    const uint32_t layer = number(op->a);
    const int unit = tinc_least_useful(&n->net, layer, number(op->b));
    REQUIRE(unit <= 0 || (uint32_t)unit < n->net.layers[layer].active);
    return unit == TINC_E_UNIT ? TINC_OK : unit;
}

static int pick_largest(const operation *op) {
    const uint32_t size = 1u + op->a, k = 1u + op->b % size;
    float *values = new_values(op, size);
    uint16_t *indices = block(k * sizeof *indices);
    const size_t kept = tinc_topk(values, size, k, indices);
    REQUIRE(kept <= k);
    for (size_t i = 0; i < kept; i++) {
        REQUIRE(indices[i] < size && (i == 0 || indices[i] > indices[i - 1]));
    }
    free(indices);
    free(values);
    return TINC_OK;
}

/* The user writes a word somewhere. */
static void poke(network *n, const operation *op) {
    const int kind = op->a % TINC_SECTIONS;
    if (n->bytes[kind] > 0) {
        const size_t word = (op->b | (size_t)op->c << 8) % (n->bytes[kind] / 4);
        memcpy((uint8_t *)n->section[kind] + 4 * word, &op->value, sizeof op->value);
        n->poked = 1;
    }
}

static int check(network *n) {
    tinc_seal(&n->net);
    const int result = tinc_check(&n->net);
    REQUIRE(n->poked || result == TINC_OK);
    n->net.fault.code = result;
    return TINC_OK; /* it changed the CRCs whatever it found */
}

static int run_operation(network *n, const operation *op) {
    switch (op->what % 16) {
    case 0:
        return use_sample(n, op, 0);
    case 1:
    case 2:
        return use_sample(n, op, 1);
    case 3:
        return use_raw(n, op);
    case 4:
        return tinc_grow(&n->net, number(op->a), number(op->b));
    case 5:
        return tinc_shrink(&n->net, number(op->a), number(op->b));
    case 6:
        return least_useful(n, op);
    case 7:
        return op->c & 1u ? replay_step(n, op) : replay(n, op);
    case 8:
        return recall(n, number(op->a), op, 0);
    case 9:
        return remember(n, op);
    case 10:
        return nearest(n, op);
    case 11:
        return op->c & 1u ? follow(n, op) : move(n, op);
    case 12:
        return check(n);
    case 13:
        return vote(n, op);
    case 14:
        return pick_largest(op);
    default:
        return extract(n, op);
    }
}

static void run_program(network *n, const uint8_t *program, uint32_t operations) {
    for (uint32_t i = 0; i < operations; i++) {
        operation op;
        memcpy(&op, program + i * OPERATION_BYTES, sizeof op);
        if (op.what >= 192) {
            poke(n, &op);
            continue;
        }
        const int opened = open_net(n);
        REQUIRE(n->poked || opened == TINC_OK);
        if (opened != TINC_OK || takes_long(&n->net)) {
            describe(&n->net.fault);
            return;
        }
        const uint64_t before = contents(n);
        if (run_operation(n, &op) < 0) {
            REQUIRE(n->net.fault.code < 0);
            describe(&n->net.fault);
            REQUIRE(contents(n) == before);
        }
    }
    const int opened = open_net(n);
    REQUIRE(n->poked || opened == TINC_OK);
    if (opened == TINC_OK) {
        check(n);
    }
}

/* ---- the image ---- */

/* Read the sections as a loader does, each as long as its table says, or as the file has it. */
static int load(network *n, const uint8_t *file, size_t size, int sealed) {
    uint32_t structure = 0;
    if (size >= 12) {
        memcpy(&structure, file + 8, sizeof structure);
    }
    n->bytes[0] = structure < size ? structure : size;
    n->section[0] = block_of(file, n->bytes[0]);
    int error = tinc_open_structure(&n->net, n->section[0], n->bytes[0]);
    if (error != TINC_OK) {
        return error;
    }
    const tinc_section *table = (const tinc_section *)(const void *)(n->net.header + 1);
    for (int kind = TINC_TRAINED; kind < TINC_SECTIONS; kind++) {
        const tinc_section *entry = &table[n->net.section_index[kind]];
        const size_t room = entry->offset < size ? size - entry->offset : 0;
        n->bytes[kind] = entry->bytes < room ? entry->bytes : room;
        n->section[kind] =
            n->bytes[kind] == 0 ? NULL : block_of(file + entry->offset, n->bytes[kind]);
    }
    error = open_net(n);
    if (error == TINC_OK && sealed) {
        tinc_seal(&n->net);
    }
    return error == TINC_OK ? tinc_check(&n->net) : error;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < PROGRAM_BYTES) {
        return 0;
    }
    const uint32_t operations = data[1] % MOST_OPERATIONS;
    const size_t program_bytes = PROGRAM_BYTES + operations * (size_t)OPERATION_BYTES;
    if (size < program_bytes) {
        return 0;
    }
    network n;
    memset(&n, 0, sizeof n);
    const int error = load(&n, data + program_bytes, size - program_bytes, data[0] & 1);
    if (error == TINC_OK && !takes_long(&n.net)) {
        n.poked = has_overlaps(&n.net);
        run_program(&n, data + PROGRAM_BYTES, operations);
    } else {
        describe(&n.net.fault);
    }
    for (int kind = 0; kind < TINC_SECTIONS; kind++) {
        free(n.section[kind]);
    }
    return 0;
}
