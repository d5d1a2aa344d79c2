/* The innermost loops of q8 for Cortex-M with the DSP extension: M4, M7, M33. Only q8_lanes.h
 * includes this. A SMLAD multiplies and adds two pairs of 16-bit numbers, here two inputs of a row;
 * as these must come from one register, halves of words are paired first. x must be 4-aligned. */
#ifndef TINYINC_Q8_LANES_DSP_H
#define TINYINC_Q8_LANES_DSP_H

#include <arm_acle.h>

#include "q8.h"

/* A function that is all assembly takes its arguments from their registers. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"

/* It would take the lines of assembly apart: */
/* clang-format off */
/* Inputs 0 and 2 of four into r8, 1 and 3 into r9. */
#define FOUR_INPUTS                                                                                \
    "ldr r9, [r2], #4\n"                                                                           \
    "sxtb16 r8, r9\n"                                                                              \
    "sxtb16 r9, r9, ror #8\n"

/* Four inputs of a pair. Its two words become one per row first. */
#define PAIR_INT8(from, sum0, sum1)                                                                \
    "ldmia " from "!, {r10, r11}\n"                                                                \
    "pkhbt r12, r10, r11, lsl #16\n"                                                               \
    "pkhtb r11, r11, r10, asr #16\n"                                                               \
    "uxtb16 r10, r12\n"                                                                            \
    "uxtb16 r12, r12, ror #8\n"                                                                    \
    "smlad " sum0 ", r10, r8, " sum0 "\n"                                                          \
    "smlad " sum0 ", r12, r9, " sum0 "\n"                                                          \
    "uxtb16 r10, r11\n"                                                                            \
    "uxtb16 r11, r11, ror #8\n"                                                                    \
    "smlad " sum1 ", r10, r8, " sum1 "\n"                                                          \
    "smlad " sum1 ", r11, r9, " sum1 "\n"

#define TWO_INT16(word0, word2, inputs, sum0, sum1)                                                \
    "pkhbt lr, " word0 ", " word2 ", lsl #16\n"                                                    \
    "pkhtb " word2 ", " word2 ", " word0 ", asr #16\n"                                             \
    "uxtb16 lr, lr, ror #8\n"                                                                      \
    "uxtb16 " word2 ", " word2 ", ror #8\n"                                                        \
    "smlad " sum0 ", lr, " inputs ", " sum0 "\n"                                                   \
    "smlad " sum1 ", " word2 ", " inputs ", " sum1 "\n"
#define PAIR_INT16(from, sum0, sum1)                                                               \
    "ldmia " from "!, {r3, r10, r11, r12}\n" TWO_INT16("r3", "r11", "r8", sum0, sum1)              \
        TWO_INT16("r10", "r12", "r9", sum0, sum1)

/* The end into r3, where it may still be. */
#define END_INT8
#define END_INT16 "ldr r3, [sp]\n"

#define FOUR(TYPE) FOUR_INPUTS PAIR_##TYPE("r0", "r4", "r5") PAIR_##TYPE("r1", "r6", "r7")

/* sums[4]: start, and two pairs, p and q, times the inputs from x to end, at least one and a multiple
 * of 8. r0 p, r1 q, r2 x, r4 to r7 sums. */
#define DOT4(name, TYPE)                                                                           \
    static __attribute__((naked, noinline)) void name(const uint32_t *p, const uint32_t *q,        \
                                                      const int8_t *x, const int8_t *end,          \
                                                      int32_t *sums, int32_t start) {              \
        __asm__(".syntax unified\n"                                                                \
                "push {r3-r11, lr}\n"                                                              \
                "ldr r4, [sp, #44]\n"                                                              \
                "mov r5, r4\n"                                                                     \
                "mov r6, r4\n"                                                                     \
                "mov r7, r4\n"                                                                     \
                "1:\n" FOUR(TYPE) FOUR(TYPE) END_##TYPE "cmp r2, r3\n"                             \
                                                        "bne 1b\n"                                 \
                                                        "ldr r0, [sp, #40]\n"                      \
                                                        "stmia r0, {r4-r7}\n"                      \
                                                        "pop {r3-r11, pc}\n");                     \
    }
DOT4(dot4_int8, INT8)
DOT4(dot4_int16, INT16)
/* clang-format on */

static uint32_t survey_words(const tinc_word *word, const tinc_word *end, uint32_t *sum,
                             uint32_t *any) {
    uint32_t used = 0, total = 0, all = 0;
    for (; word < end; word++) {
        const uint32_t four = *word;
        all |= four;
        used = __usada8(four, __uqsub8(four, 0x01010101u), used); /* x - max(x - 1, 0) of each */
        total = __usada8(four ^ 0x80808080u, 0, total);
    }
    *sum = total;
    *any = all;
    return used;
}

static void prepare_dot(q8_dot *dot, int wide, const q8_inputs *in) {
    dot->done = in->list != NULL || (uintptr_t)in->x % 4u != 0 ? 0 : in->n & ~7u;
    dot->end = in->x + dot->done;
    dot->loop = (uint32_t)wide;
}

static void dot4(const uint32_t *p, const uint32_t *q, int32_t *sums, const q8_dot *dot) {
    (dot->loop ? dot4_int16 : dot4_int8)(p, q, dot->x, dot->end, sums, dot->start);
}

#define BOTH 0x00010001u /* a factor: twice the lower half */
static uint32_t update_words(const int8_t *x, uint32_t *w, const int8_t *end,
                             const q8_change *change) {
    const uint32_t factor = (uint32_t)change->d[0] + ((uint32_t)change->d[1] << 16);
    const uint32_t shift = change->s, mask = (0xFFFFu >> shift) * BOTH;
    const uint32_t rounding = (LIFT + change->round) * BOTH;
    const uint32_t offset = WATCHED - (LIFT >> shift) * BOTH;
    uint32_t watch = 0xFFFFFFFFu;
    do {
        const uint32_t moved =
            *w + (((factor * (uint32_t)*x++ + rounding) >> shift) & mask) + offset;
        watch &= moved | moved << 1;
        *w++ = moved - WATCHED;
    } while (x < end);
    return watch;
}

#pragma GCC diagnostic pop

#endif
