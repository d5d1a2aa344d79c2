/* The distilled memory: samples of every class, kept small, replayed so that old classes stay. */
#include "fixed.h"

#define FARTHEST 0xEFFFFFFFu /* a quantile above no distance, from which no step overflows */
#define MOST_WEIGHT 64u      /* an exemplar never follows a new sample by less than 1/64 */

/* Of the class of a slot, whatever a caller may have written there. */
static uint32_t class_of(const tinc_net *net, uint32_t slot) {
    return tinc_slot_classes(net)[slot];
}

/* Is it in use, or, to append, the next one? */
static int check_slot(tinc_net *net, uint32_t slot, int append) {
    const tinc_memory *memory = net->memory;
    uint32_t slots = 0;
    if (memory != NULL) {
        slots = memory->count + (append && memory->count < memory->capacity);
    }
    return slot < slots ? TINC_OK : tinc_fail(net, TINC_E_SLOT, 0, slot, slots);
}

int tinc_choose(tinc_net *net, uint32_t excluded) {
    if (net->memory == NULL) {
        return TINC_E_SLOT;
    }
    const uint32_t count = net->memory->count, classes = tinc_classes(net);
    tinc_class_state *states = tinc_class_states(net);
    uint32_t best = TINC_NONE, slots = 0;
    for (uint32_t slot = 0; slot < count; slot++) {
        const uint32_t cls = class_of(net, slot);
        if (cls == excluded || cls >= classes) {
            continue;
        }
        if (cls == best) {
            slots++;
        } else if (best == TINC_NONE || states[cls].replayed < states[best].replayed ||
                   (states[cls].replayed == states[best].replayed && cls < best)) {
            best = cls; /* classes met before this slot had no slot of this one: none is missed */
            slots = 1;
        }
    }
    if (best == TINC_NONE) {
        return TINC_E_SLOT;
    }
    states[best].replayed = tinc_count_up(states[best].replayed);
    /* Who is left out because its samples come in anyway must not lag behind, or it would be all
     * that is replayed afterwards. */
    if (excluded < classes && states[excluded].replayed < states[best].replayed) {
        states[excluded].replayed = states[best].replayed;
    }
    uint32_t nth;
    tinc_divide(0, tinc_next(net->state) >> 8, slots, &nth);
    for (uint32_t slot = 0;; slot++) {
        if (class_of(net, slot) == best && nth-- == 0) {
            return (int)slot;
        }
    }
}

uint8_t *tinc_slot_sample(const tinc_net *net, uint32_t slot) {
    return net->section[TINC_MEMORY] + net->memory->samples_offset + slot * net->memory->stride;
}

/* ---- values of a sample: bytes, or packed, of 4 bits, the first of two in the lower half ---- */

static uint32_t is_packed(const tinc_net *net) {
    return net->memory->element_type == TINC_MEMORY_4_BIT;
}

/* The largest value, and steps of q from one to the next: 15 times 17 is 255. */
static uint32_t largest_value(uint32_t packed) {
    return 255u >> 4u * packed;
}

static uint32_t unit_of(uint32_t packed) {
    return 1u + 16u * packed;
}

static uint32_t shift_of(uint32_t i, uint32_t packed) {
    return 4u * (i & packed);
}

static uint32_t read_value(const uint8_t *sample, uint32_t i, uint32_t packed) {
    return sample[i >> packed] >> shift_of(i, packed) & largest_value(packed);
}

static void write_value(uint8_t *sample, uint32_t i, uint32_t packed, uint32_t value) {
    uint8_t *at = &sample[i >> packed];
    const uint32_t shift = shift_of(i, packed), rest = *at & ~(largest_value(packed) << shift);
    *at = (uint8_t)(rest | value << shift);
}

/* In q8, is there nothing below 0? */
static int is_positive(const tinc_net *net) {
    return tinc_float_bits(net->memory->offset) == 0;
}

#if TINYINC_F32

static void f32_recall(const tinc_net *net, const uint8_t *sample, float *x) {
    const float step = net->memory->step, offset = net->memory->offset;
    const uint32_t n = net->features; /* not read again after every store, which may be anywhere */
    if (!is_packed(net)) {
        for (uint32_t i = 0; i < n; i++) {
            x[i] = offset + step * (float)sample[i];
        }
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        x[i] = offset + step * (float)(int32_t)(unit_of(1) * read_value(sample, i, 1));
    }
}

static void f32_quantise(const tinc_net *net, const float *x, uint8_t *q) {
    const float inverse = 1.0f / net->memory->step, offset = net->memory->offset;
    const uint32_t n = net->features;
    for (uint32_t i = 0; i < n; i++) {
        const float steps = tinc_clip((x[i] - offset) * inverse + 0.5f, 0.0f, 255.0f);
        q[i] = (uint8_t)(int32_t)steps;
    }
}

#endif

static void q8_recall(const tinc_net *net, const uint8_t *sample, int8_t *x) {
    const uint32_t packed = is_packed(net), unit = unit_of(packed);
    const int positive = is_positive(net);
    for (uint32_t i = 0; i < net->features; i++) {
        const uint32_t q = unit * read_value(sample, i, packed);
        x[i] = (int8_t)(positive ? q >> 1 : (q > 0 ? q : 1u) - 128u);
    }
}

static void q8_quantise(const tinc_net *net, const int8_t *x, uint8_t *q) {
    const int positive = is_positive(net);
    for (uint32_t i = 0; i < net->features; i++) {
        q[i] = (uint8_t)(positive ? (x[i] > 0 ? 2 * x[i] : 0) : x[i] + 128);
    }
}

int tinc_recall(tinc_net *net, uint32_t slot, void *x) {
    const int error = check_slot(net, slot, 0);
    if (error) {
        return error;
    }
    FORMAT_CALL(net, recall(net, tinc_slot_sample(net, slot), x));
    return (int)class_of(net, slot);
}

int tinc_quantise(tinc_net *net, const void *x, uint8_t *q) {
    if (net->memory == NULL) {
        return tinc_fail(net, TINC_E_SLOT, 0, 0, 0);
    }
    FORMAT_CALL(net, quantise(net, x, q));
    return TINC_OK;
}

static uint32_t square(uint32_t a, uint32_t b) {
    const int16_t difference = (int16_t)(a - b); /* vector units multiply 16 bits in pairs */
    return (uint32_t)(difference * difference);
}

/* From q to a slot's sample: at most 65535 * 255^2, which fits. */
static uint32_t distance_to(const tinc_net *net, const uint8_t *q, uint32_t slot) {
    const uint8_t *sample = tinc_slot_sample(net, slot);
    const uint32_t n = net->features;
    uint32_t sum = 0;
    if (!is_packed(net)) {
        for (uint32_t i = 0; i < n; i++) {
            sum += square(q[i], sample[i]);
        }
        return sum;
    }
    for (uint32_t pair = 0; pair < n / 2u; pair++) {
        const uint32_t both = sample[pair];
        sum += square(q[2u * pair], unit_of(1) * (both & 15u));
        sum += square(q[2u * pair + 1u], unit_of(1) * (both >> 4));
    }
    return n & 1u ? sum + square(q[n - 1u], unit_of(1) * (sample[n / 2u] & 15u)) : sum;
}

/* How far samples lie from their exemplars: a running mean over about the last 32, and the distance
 * that 95 of 100 keep within, which goes up 19 times as far as down. */
static void track_distance(tinc_state *state, uint32_t distance) {
    const uint32_t mean = state->distance, step = (state->far >> 8) + 1u;
    if (mean == 0) {
        state->distance = distance;
        state->far = 2u * distance;
        return;
    }
    state->distance += distance > mean ? (distance - mean) >> 5 : -((mean - distance) >> 5);
    if (distance < state->far) {
        state->far -= step;
    } else if (distance > state->far && state->far < FARTHEST) {
        state->far += 19u * step;
    }
}

int tinc_nearest(tinc_net *net, const uint8_t *q, uint32_t cls, uint32_t *distance) {
    int nearest = TINC_E_SLOT;
    uint32_t least = TINC_NONE; /* more than any distance */
    for (uint32_t slot = 0; net->memory != NULL && slot < net->memory->count; slot++) {
        if (cls != TINC_NONE && class_of(net, slot) != cls) {
            continue;
        }
        const uint32_t sum = distance_to(net, q, slot);
        if (sum < least) {
            nearest = (int)slot;
            *distance = least = sum;
        }
    }
    return nearest;
}

/* Move n values by 1 / weight towards q, rounded to what they can hold: at random, or with weight 1
 * all the way to the nearest. */
static inline void approach_values(uint8_t *sample, const uint8_t *q, uint32_t n, uint32_t weight,
                                   uint32_t random, uint32_t packed) {
    const uint32_t unit = unit_of(packed), most = largest_value(packed);
    /* Division by up to 17 * 64 as a multiplication, exact for the dividends that occur here. */
    const uint32_t divisor = unit * weight, point = packed ? 27u : 21u;
    uint32_t remainder;
    const uint32_t reciprocal = tinc_divide(0, (1u << point) - 1u + divisor, divisor, &remainder);
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t value = read_value(sample, i, packed);
        const uint32_t up = (weight > 1 ? tinc_noise16(random, i) : 1u << 15) * divisor >> 16;
        /* `most` divisors more keep the dividend positive, so that it is rounded down. */
        const uint32_t dividend = q[i] + up + most * divisor - unit * value;
        write_value(sample, i, packed, value + (dividend * reciprocal >> point) - most);
    }
}

static void approach(tinc_net *net, uint32_t slot, const uint8_t *q, uint32_t weight) {
    uint8_t *sample = tinc_slot_sample(net, slot);
    const uint32_t random = weight > 1 ? tinc_next(net->state) : 0, n = net->features;
#ifndef __OPTIMIZE_SIZE__ /* a loop of its own, which compilers vectorise */
    if (!is_packed(net)) {
        approach_values(sample, q, n, weight, random, 0);
    } else
#endif
        approach_values(sample, q, n, weight, random, is_packed(net));
    tinc_slot_weights(net)[slot] = (uint16_t)weight;
}

int tinc_remember(tinc_net *net, uint32_t slot, const uint8_t *q, uint32_t cls) {
    const int error = check_slot(net, slot, 1);
    if (error) {
        return error;
    }
    if (cls >= tinc_classes(net)) {
        return tinc_fail(net, TINC_E_CLASS, 0, cls, tinc_classes(net));
    }
    uint32_t distance;
    if (tinc_nearest(net, q, cls, &distance) >= 0) {
        track_distance(net->state, distance);
    }
    approach(net, slot, q, 1);
    tinc_slot_classes(net)[slot] = (uint16_t)cls;
    net->memory->count += slot == net->memory->count;
    return TINC_OK;
}

/* tinc_move() from a distance that is known. */
static void move_closer(tinc_net *net, uint32_t slot, const uint8_t *q, uint32_t distance) {
    const uint32_t weight = tinc_slot_weights(net)[slot];
    track_distance(net->state, distance);
    approach(net, slot, q, /* a damaged 0 counts as 1 */
             weight < 2u            ? 2u
             : weight < MOST_WEIGHT ? weight + 1u
                                    : MOST_WEIGHT);
}

int tinc_move(tinc_net *net, uint32_t slot, const uint8_t *q) {
    const int error = check_slot(net, slot, 0);
    if (error == TINC_OK) {
        move_closer(net, slot, q, distance_to(net, q, slot));
    }
    return error;
}

int tinc_follow(tinc_net *net, const void *x, uint32_t cls, uint8_t *q) {
    uint32_t distance = 0;
    const int error = tinc_quantise(net, x, q);
    const int slot = error ? error : tinc_nearest(net, q, cls, &distance);
    if (slot >= 0) {
        move_closer(net, (uint32_t)slot, q, distance);
    }
    return slot;
}

#define LEAST_PROBABILITY 1e-30f
#define MANY 16u /* exemplars per class that vote with full weight: fewer know less */

/* How far a sample lies from an exemplar of its class, and from a class without any: that is
 * neither for nor against. At least 1: of samples that have all been alike so far any difference
 * tells. */
static uint32_t usual_distance(const tinc_state *state) {
    return state->distance > 0 ? state->distance : 1u;
}

#if TINYINC_F32

static int f32_vote(tinc_net *net, const uint8_t *q, float *probabilities) {
    const tinc_state *state = net->state;
    const uint32_t classes = tinc_classes(net);
    const float usual = (float)usual_distance(state);
    const float share = (float)net->memory->count / (float)(MANY * classes);
    const float scale = state->vote * (share < 1.0f ? share : 1.0f) / usual;
    for (uint32_t cls = 0; cls < classes; cls++) {
        const float p = probabilities[cls];
        uint32_t distance = usual_distance(state);
        (void)tinc_nearest(net, q, cls, &distance);
        probabilities[cls] =
            tinc_log(p > LEAST_PROBABILITY ? p : LEAST_PROBABILITY) - scale * (float)distance;
    }
    const uint32_t winner = tinc_argmax(probabilities, classes);
    tinc_softmax(probabilities, classes);
    return (int)winner;
}

#endif

#define LOG2_E 0x3FB8AA3Bu /* as a float32 */

/* log2 of a probability, in fixed point. */
static int32_t log_probability(uint32_t bits, int32_t point) {
    const uint32_t least = tinc_float_bits(LEAST_PROBABILITY);
    return tinc_bits_log2((int32_t)bits > (int32_t)least ? bits : least) >> (16 - point);
}

/* In powers of two, x[cls] = log2 p - weight d with weight = vote share log2 e / distance, in fixed
 * point with 16 bits behind the point, or as many less as keep the largest d that can be below
 * 2^30.
 */
static int q8_vote(tinc_net *net, const uint8_t *q, float *probabilities) {
    const tinc_state *state = net->state;
    const uint32_t classes = tinc_classes(net);
    tinc_word *x = (tinc_word *)(void *)probabilities;
    const tinc_bits vote = tinc_bits_multiply(tinc_float_bits(state->vote), LOG2_E);
    const tinc_bits share =
        tinc_bits_divide(tinc_bits_of(net->memory->count, 0), tinc_bits_of(MANY * classes, 0));
    const tinc_bits weight =
        tinc_bits_divide(tinc_bits_multiply(vote, share < TINC_ONE ? share : TINC_ONE),
                         tinc_bits_of(usual_distance(state), 0));
    const tinc_bits most = tinc_bits_multiply(weight, tinc_bits_of(65025u * net->features, 0));
    const int32_t spare = 29 - tinc_bits_exponent(most), point = spare < 16 ? spare : 16;
    for (uint32_t cls = 0; cls < classes; cls++) {
        uint32_t distance = usual_distance(state);
        (void)tinc_nearest(net, q, cls, &distance);
        const tinc_bits against = tinc_bits_multiply(weight, tinc_bits_of(distance, 0));
        x[cls] = (uint32_t)log_probability(x[cls], point) - tinc_bits_fixed(against, point);
    }
    const uint32_t winner = tinc_q8_argmax((const int32_t *)x, classes), largest = x[winner];
    for (uint32_t cls = 0; cls < classes; cls++) {
        x[cls] = tinc_bits_fixed(tinc_bits_of(largest - x[cls], -point), 25);
    }
    tinc_q8_softmax(x, classes);
    return (int)winner;
}

int tinc_vote(tinc_net *net, const uint8_t *q, float *probabilities) {
    const uint32_t classes = tinc_classes(net);
    if (classes == 0) {
        return tinc_fail(net, TINC_E_CLASS, 0, 0, 0);
    }
    if (net->memory == NULL || net->memory->count == 0 ||
        tinc_magnitude_bits(net->state->vote) == 0) {
        return (int)tinc_q8_argmax((const int32_t *)(void *)probabilities, classes);
    }
    return FORMAT_CALL(net, vote(net, q, probabilities));
}

int tinc_is_new(tinc_net *net, const uint8_t *q) {
    const tinc_bits novelty = tinc_magnitude_bits(net->state->novelty);
    uint32_t distance;
    if (novelty == 0 || tinc_nearest(net, q, TINC_NONE, &distance) < 0) {
        return 0;
    }
    return tinc_bits_of(distance, 0) >
           tinc_bits_multiply(novelty, tinc_bits_of(net->state->far, 0));
}
