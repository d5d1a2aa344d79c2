/* The MicroPython module _tinyinc: the core's calls over Python buffers.
 *
 * One source for the user C module and the native module. `net` is always a tuple of five buffers
 * (structure, trained, frozen, memory, state). A normalised sample x, and its features, which calls
 * after extract() take in its place, are an array('f') in float32 networks and an array('b') in q8.
 * Floats cross in array('f') only: a float scalar would be misread where firmware and native module
 * pass floats in different registers. Inputs, and the sections that a call leaves as they are, may
 * be read-only. Every error of the core becomes a ValueError that says what was wrong. */
#if MICROPY_ENABLE_DYNRUNTIME
#include "py/dynruntime.h"
#else
#include "py/runtime.h"
#endif
#include "py/binary.h"
#include "../core/tinyinc.h"

#ifndef TINYINC_F32
#define TINYINC_F32 1
#endif

#define WRITES(section) (1u << (section))

static void raise_fault(const tinc_fault *fault) {
    char text[TINC_TEXT_BYTES];
    const size_t length = tinc_describe(fault, text);
    mp_raise_type_arg(&mp_type_ValueError, mp_obj_new_str(text, length));
}

static void raise(int code, uint32_t where, uint32_t found, uint32_t expected) {
    const tinc_fault fault = {code, where, found, expected};
    raise_fault(&fault);
}

/* A result of the core: raise what is wrong, or pass on. */
static int check(const tinc_net *net, int result) {
    if (result < 0) {
        raise_fault(&net->fault);
    }
    return result;
}

/* Open the five buffers; `writes` names those that the call changes. */
static void open_net(mp_obj_t sections, unsigned writes, tinc_net *net) {
    size_t count;
    mp_obj_t *items;
    mp_obj_get_array(sections, &count, &items);
    if (count != TINC_SECTIONS) {
        raise(TINC_E_ARGUMENT, 1, (uint32_t)count, TINC_SECTIONS);
    }
    void *base[TINC_SECTIONS];
    size_t bytes[TINC_SECTIONS];
    for (unsigned i = 0; i < TINC_SECTIONS; i++) {
        mp_buffer_info_t buffer;
        if (!mp_get_buffer(items[i], &buffer, writes >> i & 1u ? MP_BUFFER_RW : MP_BUFFER_READ)) {
            raise(TINC_E_ARGUMENT_TYPE, 1, 0, 'B');
        }
        /* an empty bytearray's address is arbitrary, and never used */
        base[i] = buffer.len == 0 ? NULL : buffer.buf;
        bytes[i] = buffer.len;
    }
    check(net, tinc_open(net, base, bytes));
}

/* The typecode of an array, with bytearrays as arrays of uint8. */
static int typecode_of(const mp_buffer_info_t *buffer) {
    return buffer->typecode == BYTEARRAY_TYPECODE ? 'B' : buffer->typecode;
}

/* Items of a typecode in a buffer. A shift: some cores cannot divide. */
static size_t items_of(const mp_buffer_info_t *buffer, int typecode) {
    const unsigned size = typecode == 'f' || typecode == 'I'   ? 2
                          : typecode == 'h' || typecode == 'H' ? 1
                                                               : 0;
    return buffer->len >> size;
}

/* Argument n (counted from 1): at least `count` values of a typecode. */
static void *get_array(mp_obj_t object, unsigned n, char typecode, size_t count, unsigned access) {
    mp_buffer_info_t buffer;
    if (!mp_get_buffer(object, &buffer, access) || typecode_of(&buffer) != typecode) {
        raise(TINC_E_ARGUMENT_TYPE, n, 0, (uint8_t)typecode);
    }
    const size_t items = items_of(&buffer, typecode);
    if (items < count) {
        raise(TINC_E_ARGUMENT, n, (uint32_t)items, (uint32_t)count);
    }
    return buffer.buf;
}

/* Argument n: values of a sample or of its features, float32 or int8 as the network computes. */
static void *get_values(const tinc_net *net, mp_obj_t object, unsigned n, size_t count,
                        unsigned access) {
    return get_array(object, n, net->header->format == TINC_Q8 ? 'b' : 'f', count, access);
}

static void *get_sample(const tinc_net *net, mp_obj_t object, unsigned n, unsigned access) {
    return get_values(net, object, n, net->inputs, access);
}

static void *get_features(const tinc_net *net, mp_obj_t object, unsigned n, unsigned access) {
    return get_values(net, object, n, net->features, access);
}

static mp_buffer_info_t get_scratch(mp_obj_t object, unsigned n) {
    mp_buffer_info_t buffer;
    if (!mp_get_buffer(object, &buffer, MP_BUFFER_RW)) {
        raise(TINC_E_ARGUMENT_TYPE, n, 0, 'B');
    }
    return buffer;
}

/* An index or a count: negative stands for none, as does an integer so large that a native module
 * would get its low word alone. Taken before any buffer, since an object's own __int__() may do
 * anything, such as changing the size of a buffer. */
static uint32_t get_index(mp_obj_t object) {
    if (!mp_obj_is_small_int(object) && mp_obj_get_type(object) == &mp_type_int) {
        return TINC_NONE; /* (a native module has to look for mp_type_int: that takes its time) */
    }
    const mp_int_t value = mp_obj_get_int(object);
    return value < 0 || value > 0x3FFFFFFF ? TINC_NONE : (uint32_t)value;
}

static mp_obj_t check_structure(mp_obj_t structure) {
    tinc_net net;
    mp_buffer_info_t buffer;
    mp_get_buffer_raise(structure, &buffer, MP_BUFFER_READ);
    check(&net, tinc_open_structure(&net, buffer.buf, buffer.len));
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_1(check_structure_obj, check_structure);

static mp_obj_t check_net(mp_obj_t sections) {
    tinc_net net;
    open_net(sections, 0, &net);
    check(&net, tinc_check(&net));
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_1(check_obj, check_net);

static mp_obj_t seal(mp_obj_t sections) {
    tinc_net net;
    open_net(sections, WRITES(TINC_STRUCTURE), &net);
    tinc_seal(&net);
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_1(seal_obj, seal);

static mp_obj_t crc32(size_t n_args, const mp_obj_t *args) {
    const uint32_t start = n_args > 1 ? (uint32_t)mp_obj_get_int_truncated(args[1]) : 0;
    mp_buffer_info_t buffer;
    mp_get_buffer_raise(args[0], &buffer, MP_BUFFER_READ);
    return mp_obj_new_int_from_uint(tinc_crc32(start, buffer.buf, buffer.len));
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(crc32_obj, 1, 2, crc32);

/* False: infer(), True: learn(), 2: extract() */
static int work_of(mp_obj_t work) {
    return work == MP_OBJ_NEW_SMALL_INT(TINC_EXTRACT) ? TINC_EXTRACT
           : mp_obj_is_true(work)                     ? TINC_LEARN
                                                      : TINC_INFER;
}

/* scratch_bytes(net, work=True) */
static mp_obj_t scratch_bytes(size_t n_args, const mp_obj_t *args) {
    tinc_net net;
    const int work = n_args > 1 ? work_of(args[1]) : TINC_LEARN;
    open_net(args[0], 0, &net);
    return mp_obj_new_int_from_uint(tinc_scratch_bytes(&net, work));
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(scratch_bytes_obj, 1, 2, scratch_bytes);

/* plan(net, work, table) -> bytes of scratch; per tensor: offset, bytes, first, last moment */
static mp_obj_t plan(mp_obj_t sections, mp_obj_t kind, mp_obj_t table) {
    tinc_net net;
    const int work = work_of(kind);
    open_net(sections, 0, &net);
    const size_t tensors = net.layer_count * TINC_ROLES;
    uint32_t *words = get_array(table, 3, 'I', 4 * tensors, MP_BUFFER_RW);
    const size_t bytes = tinc_plan(&net, work, (tinc_tensor *)(void *)words);
    for (size_t i = 0; i < tensors; i++, words += 4) {
        const tinc_tensor tensor = *(const tinc_tensor *)(const void *)words;
        words[2] = tensor.first;
        words[3] = tensor.last;
    }
    return mp_obj_new_int_from_uint(bytes);
}
static MP_DEFINE_CONST_FUN_OBJ_3(plan_obj, plan);

/* normalise(net, raw, x) */
static mp_obj_t normalise(mp_obj_t sections, mp_obj_t raw, mp_obj_t x) {
    tinc_net net;
    open_net(sections, 0, &net);
    void *values = get_sample(&net, x, 3, MP_BUFFER_RW);
    mp_buffer_info_t buffer;
    if (!mp_get_buffer(raw, &buffer, MP_BUFFER_READ)) {
        raise(TINC_E_SAMPLE_TYPE, '?', 0, 0);
    }
    const int typecode = typecode_of(&buffer);
    const size_t n = items_of(&buffer, typecode);
    check(&net, tinc_normalise(&net, buffer.buf, n, typecode, values));
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_3(normalise_obj, normalise);

/* extract(net, x, features, scratch) -> multiply-accumulates */
static mp_obj_t extract(size_t n_args, const mp_obj_t *args) {
    (void)n_args;
    tinc_net net;
    open_net(args[0], 0, &net);
    const void *x = get_sample(&net, args[1], 2, MP_BUFFER_READ);
    void *features = get_features(&net, args[2], 3, MP_BUFFER_RW);
    const mp_buffer_info_t scratch = get_scratch(args[3], 4);
    uint32_t macs;
    check(&net, tinc_extract(&net, x, features, &macs, scratch.buf, scratch.len));
    return mp_obj_new_int_from_uint(macs);
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(extract_obj, 4, 4, extract);

/* infer(net, x, probabilities, scratch) -> class */
static mp_obj_t infer(size_t n_args, const mp_obj_t *args) {
    (void)n_args;
    tinc_net net;
    open_net(args[0], 0, &net);
    const void *x = get_features(&net, args[1], 2, MP_BUFFER_READ);
    const uint32_t classes = net.layers[net.layer_count - 1].active;
    float *probabilities = get_array(args[2], 3, 'f', classes, MP_BUFFER_RW);
    const mp_buffer_info_t scratch = get_scratch(args[3], 4);
    return MP_OBJ_NEW_SMALL_INT(
        check(&net, tinc_infer(&net, x, probabilities, scratch.buf, scratch.len)));
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(infer_obj, 4, 4, infer);

/* learn(net, x, target, counts, figures, scratch) -> False when the step diverged */
static mp_obj_t learn(size_t n_args, const mp_obj_t *args) {
    (void)n_args;
    tinc_net net;
    const uint32_t target = get_index(args[2]);
    open_net(args[0], WRITES(TINC_TRAINED) | WRITES(TINC_STATE), &net);
    const void *x = get_features(&net, args[1], 2, MP_BUFFER_READ);
    uint32_t *counts = get_array(args[3], 4, 'I', TINC_STEP_K + net.layer_count, MP_BUFFER_RW);
    float *figures = get_array(args[4], 5, 'f', TINC_STEP_FIGURES, MP_BUFFER_RW);
    const mp_buffer_info_t scratch = get_scratch(args[5], 6);
    const int result = tinc_learn(&net, x, target, counts, figures, scratch.buf, scratch.len);
    if (result == TINC_E_DIVERGED) {
        return mp_const_false;
    }
    check(&net, result);
    return mp_const_true;
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(learn_obj, 6, 6, learn);

/* replay(net, excluded, x, counts, figures, scratch) -> class, -1 where there is no exemplar, -2
 * when the step diverged */
static mp_obj_t replay(size_t n_args, const mp_obj_t *args) {
    (void)n_args;
    tinc_net net;
    const uint32_t excluded = get_index(args[1]);
    open_net(args[0], WRITES(TINC_TRAINED) | WRITES(TINC_STATE), &net);
    void *x = get_features(&net, args[2], 3, MP_BUFFER_RW);
    uint32_t *counts = get_array(args[3], 4, 'I', TINC_STEP_K + net.layer_count, MP_BUFFER_RW);
    float *figures = get_array(args[4], 5, 'f', TINC_STEP_FIGURES, MP_BUFFER_RW);
    const mp_buffer_info_t scratch = get_scratch(args[5], 6);
    const int result = tinc_replay(&net, excluded, x, counts, figures, scratch.buf, scratch.len);
    if (result == TINC_E_SLOT || result == TINC_E_DIVERGED) {
        return MP_OBJ_NEW_SMALL_INT(result == TINC_E_SLOT ? -1 : -2);
    }
    return MP_OBJ_NEW_SMALL_INT(check(&net, result));
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(replay_obj, 6, 6, replay);

#if TINYINC_F32 /* kernels for other uses of floats */

/* matmul(out, a, b, rows, inner, columns) */
static mp_obj_t matmul(size_t n_args, const mp_obj_t *args) {
    (void)n_args;
    size_t size[3];
    for (unsigned i = 0; i < 3; i++) {
        size[i] = get_index(args[3 + i]);
        if (size[i] > TINC_MAX_UNITS) {
            raise(TINC_E_ARGUMENT, 4 + i, (uint32_t)size[i], TINC_MAX_UNITS);
        }
    }
    const float *a = get_array(args[1], 2, 'f', size[0] * size[1], MP_BUFFER_READ);
    const float *b = get_array(args[2], 3, 'f', size[1] * size[2], MP_BUFFER_READ);
    float *out = get_array(args[0], 1, 'f', size[0] * size[2], MP_BUFFER_RW);
    tinc_matmul(out, a, b, size[0], size[1], size[2]);
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(matmul_obj, 6, 6, matmul);

/* topk(values, k, indices) -> how many were selected */
static mp_obj_t topk(mp_obj_t values_in, mp_obj_t k_in, mp_obj_t indices_in) {
    const uint32_t k = get_index(k_in);
    const float *values = get_array(values_in, 1, 'f', 1, MP_BUFFER_READ);
    mp_buffer_info_t buffer;
    mp_get_buffer_raise(values_in, &buffer, MP_BUFFER_READ); /* its len() may be the user's own */
    const size_t n = items_of(&buffer, 'f');
    if (k < 1 || k > n || n > TINC_MAX_UNITS) {
        raise(TINC_E_ARGUMENT, 2, k, (uint32_t)n);
    }
    uint16_t *indices = get_array(indices_in, 3, 'H', k, MP_BUFFER_RW);
    return MP_OBJ_NEW_SMALL_INT(tinc_topk(values, n, k, indices));
}
static MP_DEFINE_CONST_FUN_OBJ_3(topk_obj, topk);

#endif

#define WRITES_ALL                                                                                 \
    (WRITES(TINC_STRUCTURE) | WRITES(TINC_TRAINED) | WRITES(TINC_MEMORY) | WRITES(TINC_STATE))

static mp_obj_t grow(mp_obj_t sections, mp_obj_t layer, mp_obj_t units) {
    tinc_net net;
    const uint32_t l = get_index(layer), n = get_index(units);
    open_net(sections, WRITES_ALL, &net);
    check(&net, tinc_grow(&net, l, n));
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_3(grow_obj, grow);

static mp_obj_t shrink(mp_obj_t sections, mp_obj_t layer, mp_obj_t unit) {
    tinc_net net;
    const uint32_t l = get_index(layer), n = get_index(unit);
    open_net(sections, WRITES_ALL, &net);
    check(&net, tinc_shrink(&net, l, n));
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_3(shrink_obj, shrink);

/* A slot, or -1 where there is none. */
static mp_obj_t slot_or_none(int slot) {
    return MP_OBJ_NEW_SMALL_INT(slot < 0 ? -1 : slot);
}

/* least_useful(net, layer, over=0) -> unit, -1 where none is that much less useful than another */
static mp_obj_t least_useful(size_t n_args, const mp_obj_t *args) {
    tinc_net net;
    const uint32_t l = get_index(args[1]), over = n_args > 2 ? get_index(args[2]) : 0;
    open_net(args[0], 0, &net);
    const int unit = tinc_least_useful(&net, l, over);
    return MP_OBJ_NEW_SMALL_INT(unit == TINC_E_UNIT ? -1 : check(&net, unit));
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(least_useful_obj, 2, 3, least_useful);

/* choose(net, excluded=-1) -> slot */
static mp_obj_t choose(size_t n_args, const mp_obj_t *args) {
    tinc_net net;
    const uint32_t excluded = n_args > 1 ? get_index(args[1]) : TINC_NONE;
    open_net(args[0], WRITES(TINC_STATE), &net);
    return slot_or_none(tinc_choose(&net, excluded));
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(choose_obj, 1, 2, choose);

static mp_obj_t recall(mp_obj_t sections, mp_obj_t slot, mp_obj_t x) {
    tinc_net net;
    const uint32_t s = get_index(slot);
    open_net(sections, 0, &net);
    void *values = get_features(&net, x, 3, MP_BUFFER_RW);
    return MP_OBJ_NEW_SMALL_INT(check(&net, tinc_recall(&net, s, values)));
}
static MP_DEFINE_CONST_FUN_OBJ_3(recall_obj, recall);

static mp_obj_t quantise(mp_obj_t sections, mp_obj_t x, mp_obj_t q) {
    tinc_net net;
    open_net(sections, 0, &net);
    const void *values = get_features(&net, x, 2, MP_BUFFER_READ);
    check(&net, tinc_quantise(&net, values, get_array(q, 3, 'B', net.features, MP_BUFFER_RW)));
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_3(quantise_obj, quantise);

/* remember(net, slot, q, class) */
static mp_obj_t remember(size_t n_args, const mp_obj_t *args) {
    (void)n_args;
    tinc_net net;
    const uint32_t slot = get_index(args[1]), cls = get_index(args[3]);
    open_net(args[0], WRITES(TINC_MEMORY) | WRITES(TINC_STATE), &net);
    const uint8_t *q = get_array(args[2], 3, 'B', net.features, MP_BUFFER_READ);
    check(&net, tinc_remember(&net, slot, q, cls));
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(remember_obj, 4, 4, remember);

/* nearest(net, q, class, distance) -> slot */
static mp_obj_t nearest(size_t n_args, const mp_obj_t *args) {
    (void)n_args;
    tinc_net net;
    const uint32_t cls = get_index(args[2]);
    open_net(args[0], 0, &net);
    const uint8_t *q = get_array(args[1], 2, 'B', net.features, MP_BUFFER_READ);
    uint32_t *distance = get_array(args[3], 4, 'I', 1, MP_BUFFER_RW);
    return slot_or_none(tinc_nearest(&net, q, cls, distance));
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(nearest_obj, 4, 4, nearest);

static mp_obj_t move(mp_obj_t sections, mp_obj_t slot, mp_obj_t q) {
    tinc_net net;
    const uint32_t s = get_index(slot);
    open_net(sections, WRITES(TINC_MEMORY) | WRITES(TINC_STATE), &net);
    const uint8_t *sample = get_array(q, 3, 'B', net.features, MP_BUFFER_READ);
    check(&net, tinc_move(&net, s, sample));
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_3(move_obj, move);

/* follow(net, x, class, q) -> slot */
static mp_obj_t follow(size_t n_args, const mp_obj_t *args) {
    (void)n_args;
    tinc_net net;
    const uint32_t cls = get_index(args[2]);
    open_net(args[0], WRITES(TINC_MEMORY) | WRITES(TINC_STATE), &net);
    const void *x = get_features(&net, args[1], 2, MP_BUFFER_READ);
    uint8_t *q = get_array(args[3], 4, 'B', net.features, MP_BUFFER_RW);
    return slot_or_none(tinc_follow(&net, x, cls, q));
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(follow_obj, 4, 4, follow);

/* vote(net, q, probabilities) -> class */
static mp_obj_t vote(mp_obj_t sections, mp_obj_t q, mp_obj_t probabilities) {
    tinc_net net;
    open_net(sections, 0, &net);
    const uint8_t *sample = get_array(q, 2, 'B', net.features, MP_BUFFER_READ);
    const uint32_t classes = net.layers[net.layer_count - 1].active;
    float *voted = get_array(probabilities, 3, 'f', classes, MP_BUFFER_RW);
    return MP_OBJ_NEW_SMALL_INT(check(&net, tinc_vote(&net, sample, voted)));
}
static MP_DEFINE_CONST_FUN_OBJ_3(vote_obj, vote);

/* is_new(net, q) -> bool */
static mp_obj_t is_new(mp_obj_t sections, mp_obj_t q) {
    tinc_net net;
    open_net(sections, 0, &net);
    const uint8_t *sample = get_array(q, 2, 'B', net.features, MP_BUFFER_READ);
    return mp_obj_new_bool(tinc_is_new(&net, sample));
}
static MP_DEFINE_CONST_FUN_OBJ_2(is_new_obj, is_new);

#if MICROPY_ENABLE_DYNRUNTIME

mp_obj_t mpy_init(mp_obj_fun_bc_t *self, size_t n_args, size_t n_kw, mp_obj_t *args) {
    MP_DYNRUNTIME_INIT_ENTRY
    mp_store_global(MP_QSTR_check_structure, MP_OBJ_FROM_PTR(&check_structure_obj));
    mp_store_global(MP_QSTR_check, MP_OBJ_FROM_PTR(&check_obj));
    mp_store_global(MP_QSTR_seal, MP_OBJ_FROM_PTR(&seal_obj));
    mp_store_global(MP_QSTR_crc32, MP_OBJ_FROM_PTR(&crc32_obj));
    mp_store_global(MP_QSTR_scratch_bytes, MP_OBJ_FROM_PTR(&scratch_bytes_obj));
    mp_store_global(MP_QSTR_plan, MP_OBJ_FROM_PTR(&plan_obj));
    mp_store_global(MP_QSTR_normalise, MP_OBJ_FROM_PTR(&normalise_obj));
    mp_store_global(MP_QSTR_extract, MP_OBJ_FROM_PTR(&extract_obj));
    mp_store_global(MP_QSTR_infer, MP_OBJ_FROM_PTR(&infer_obj));
    mp_store_global(MP_QSTR_learn, MP_OBJ_FROM_PTR(&learn_obj));
    mp_store_global(MP_QSTR_replay, MP_OBJ_FROM_PTR(&replay_obj));
#if TINYINC_F32
    mp_store_global(MP_QSTR_matmul, MP_OBJ_FROM_PTR(&matmul_obj));
    mp_store_global(MP_QSTR_topk, MP_OBJ_FROM_PTR(&topk_obj));
#endif
    mp_store_global(MP_QSTR_grow, MP_OBJ_FROM_PTR(&grow_obj));
    mp_store_global(MP_QSTR_shrink, MP_OBJ_FROM_PTR(&shrink_obj));
    mp_store_global(MP_QSTR_least_useful, MP_OBJ_FROM_PTR(&least_useful_obj));
    mp_store_global(MP_QSTR_choose, MP_OBJ_FROM_PTR(&choose_obj));
    mp_store_global(MP_QSTR_recall, MP_OBJ_FROM_PTR(&recall_obj));
    mp_store_global(MP_QSTR_quantise, MP_OBJ_FROM_PTR(&quantise_obj));
    mp_store_global(MP_QSTR_remember, MP_OBJ_FROM_PTR(&remember_obj));
    mp_store_global(MP_QSTR_nearest, MP_OBJ_FROM_PTR(&nearest_obj));
    mp_store_global(MP_QSTR_move, MP_OBJ_FROM_PTR(&move_obj));
    mp_store_global(MP_QSTR_follow, MP_OBJ_FROM_PTR(&follow_obj));
    mp_store_global(MP_QSTR_vote, MP_OBJ_FROM_PTR(&vote_obj));
    mp_store_global(MP_QSTR_is_new, MP_OBJ_FROM_PTR(&is_new_obj));
    MP_DYNRUNTIME_INIT_EXIT
}

#else

static const mp_rom_map_elem_t tinyinc_globals_table[] = {
    {MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR__tinyinc)},
    {MP_ROM_QSTR(MP_QSTR_check_structure), MP_ROM_PTR(&check_structure_obj)},
    {MP_ROM_QSTR(MP_QSTR_check), MP_ROM_PTR(&check_obj)},
    {MP_ROM_QSTR(MP_QSTR_seal), MP_ROM_PTR(&seal_obj)},
    {MP_ROM_QSTR(MP_QSTR_crc32), MP_ROM_PTR(&crc32_obj)},
    {MP_ROM_QSTR(MP_QSTR_scratch_bytes), MP_ROM_PTR(&scratch_bytes_obj)},
    {MP_ROM_QSTR(MP_QSTR_plan), MP_ROM_PTR(&plan_obj)},
    {MP_ROM_QSTR(MP_QSTR_normalise), MP_ROM_PTR(&normalise_obj)},
    {MP_ROM_QSTR(MP_QSTR_extract), MP_ROM_PTR(&extract_obj)},
    {MP_ROM_QSTR(MP_QSTR_infer), MP_ROM_PTR(&infer_obj)},
    {MP_ROM_QSTR(MP_QSTR_learn), MP_ROM_PTR(&learn_obj)},
    {MP_ROM_QSTR(MP_QSTR_replay), MP_ROM_PTR(&replay_obj)},
#if TINYINC_F32
    {MP_ROM_QSTR(MP_QSTR_matmul), MP_ROM_PTR(&matmul_obj)},
    {MP_ROM_QSTR(MP_QSTR_topk), MP_ROM_PTR(&topk_obj)},
#endif
    {MP_ROM_QSTR(MP_QSTR_grow), MP_ROM_PTR(&grow_obj)},
    {MP_ROM_QSTR(MP_QSTR_shrink), MP_ROM_PTR(&shrink_obj)},
    {MP_ROM_QSTR(MP_QSTR_least_useful), MP_ROM_PTR(&least_useful_obj)},
    {MP_ROM_QSTR(MP_QSTR_choose), MP_ROM_PTR(&choose_obj)},
    {MP_ROM_QSTR(MP_QSTR_recall), MP_ROM_PTR(&recall_obj)},
    {MP_ROM_QSTR(MP_QSTR_quantise), MP_ROM_PTR(&quantise_obj)},
    {MP_ROM_QSTR(MP_QSTR_remember), MP_ROM_PTR(&remember_obj)},
    {MP_ROM_QSTR(MP_QSTR_nearest), MP_ROM_PTR(&nearest_obj)},
    {MP_ROM_QSTR(MP_QSTR_move), MP_ROM_PTR(&move_obj)},
    {MP_ROM_QSTR(MP_QSTR_follow), MP_ROM_PTR(&follow_obj)},
    {MP_ROM_QSTR(MP_QSTR_vote), MP_ROM_PTR(&vote_obj)},
    {MP_ROM_QSTR(MP_QSTR_is_new), MP_ROM_PTR(&is_new_obj)},
};
static MP_DEFINE_CONST_DICT(tinyinc_globals, tinyinc_globals_table);

const mp_obj_module_t tinyinc_module = {
    .base = {&mp_type_module},
    .globals = (mp_obj_dict_t *)&tinyinc_globals,
};
MP_REGISTER_MODULE(MP_QSTR__tinyinc, tinyinc_module);

#endif
