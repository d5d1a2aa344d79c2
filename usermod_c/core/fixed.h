/* Arithmetic where there is no floating point, no 64-bit product and no division: fixed point, and
 * float32 by their bits. */
#ifndef TINYINC_FIXED_H
#define TINYINC_FIXED_H

#include "internal.h"

/* Call what a file has for the network's format: FORMAT_CALL(net, recall(net, q, x)). */
#if TINYINC_F32
#define FORMAT_CALL(net, call) (tinc_is_q8(net) ? q8_##call : f32_##call)
#else
#define FORMAT_CALL(net, call) q8_##call
#endif

/* Bits up to the highest that is set, 0 for 0. Not static, so that it is a call where the compiler
 * looks at size. */
inline uint32_t tinc_bit_length(uint32_t x) {
    const uint32_t lengths = 0x33332210u; /* of 0 to 7, four bits each */
    uint32_t bits = 0;
    if (x >> 16 != 0) {
        x >>= 16;
        bits = 16;
    }
    if (x >> 8 != 0) {
        x >>= 8;
        bits += 8;
    }
    if (x >> 5 != 0) {
        x >>= 5;
        bits += 5;
    }
    if (x >> 3 != 0) {
        x >>= 3;
        bits += 3;
    }
    return bits + (lengths >> 4u * x & 7u);
}

/* a b / 2^32, rounded down. */
uint32_t tinc_multiply_high(uint32_t a, uint32_t b);

/* (high 2^32 + low) / divisor, rounded down, and what remains; high is below the divisor. */
uint32_t tinc_divide(uint32_t high, uint32_t low, uint32_t divisor, uint32_t *remainder);

/* The bits of a float32 that is 0 or positive: as integers they order as the numbers do. Results
 * below the smallest normal number are 0, those from 2^127 on 2^127; a zero's sign, and numbers
 * that are not normal, are taken as 0. */
typedef uint32_t tinc_bits;

#define TINC_ONE 0x3F800000u

/* m 2^e, rounded to the nearest. */
tinc_bits tinc_bits_of(uint32_t m, int32_t e);
/* x 2^point, to the nearest integer, ties up; at most 2^32 - 1. */
uint32_t tinc_bits_fixed(tinc_bits x, int32_t point);
/* Relative errors at most 1.01 2^-24, and 0 where one factor, or the divisor, is a power of two. */
tinc_bits tinc_bits_multiply(tinc_bits a, tinc_bits b);
tinc_bits tinc_bits_divide(tinc_bits a, tinc_bits b);
tinc_bits tinc_bits_add(tinc_bits a, tinc_bits b);
/* 2^-(x / 2^25), relative error at most 1.5 2^-23. */
tinc_bits tinc_bits_exp2(uint32_t x);
/* 2^16 log2 x for x > 0, at most 1.001 too low; exact for powers of two. */
int32_t tinc_bits_log2(tinc_bits x);

/* Any float32 in fixed point: to the nearest multiple of 2^-point, ties away from 0, within +-most.
 */
int32_t tinc_fixed(float x, int32_t point, uint32_t most);

/* log2 of a float32 that is a power of two. */
static inline int32_t tinc_bits_exponent(tinc_bits x) {
    return (int32_t)(x >> 23 & 0xFFu) - 127;
}

/* ---- q8_softmax.c ---- */

/* The index of the largest, the lowest of equals. */
uint32_t tinc_q8_argmax(const int32_t *values, uint32_t n);

/* x[n], how far each is below the largest in powers of two, with 25 bits behind the point, to the
 * bits of probabilities. */
void tinc_q8_softmax(tinc_word *x, uint32_t n);

/* ---- q8_rules.c ---- */

/* As tinc_f32_admit(): of the output's local error the factor for the gradient, 0 when the sample
 * is left untrained, and the chance that it had. */
tinc_bits tinc_q8_admit(tinc_net *net, tinc_bits error, tinc_bits *probability);

#endif
