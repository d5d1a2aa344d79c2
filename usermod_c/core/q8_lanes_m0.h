/* The innermost loops of q8 for Cortex-M0, M0+ and M1. Only q8_lanes.h includes this.
 *
 * One multiplication does two rows: (u0 + 2^16 u1) x = u0 x + 2^16 u1 x, and so for a sum of such
 * products. Where u0 x0 + u1 x1 is known to be in 0..65535, the upper half of a sum s is that of
 * row 1: `total` adds up s and `high` adds up s >> 16, and row 0 is total - 2^16 high.
 *
 * The functions are assembly as a whole (naked): they need all eight low registers. */
#ifndef TINYINC_Q8_LANES_M0_H
#define TINYINC_Q8_LANES_M0_H

#include "q8.h"

/* A function that is all assembly takes its arguments from their registers. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"

/* It would take the lines of assembly apart: */
/* clang-format off */
#define SAVE                                                                                       \
    ".syntax unified\n"                                                                            \
    "push {r4-r7, lr}\n"                                                                           \
    "mov r4, r8\n"                                                                                 \
    "mov r5, r9\n"                                                                                 \
    "mov r6, r10\n"                                                                                \
    "mov r7, r11\n"                                                                                \
    "push {r4-r7}\n"
#define RETURN                                                                                     \
    "pop {r4-r7}\n"                                                                                \
    "mov r8, r4\n"                                                                                 \
    "mov r9, r5\n"                                                                                 \
    "mov r10, r6\n"                                                                                \
    "mov r11, r7\n"                                                                                \
    "pop {r4-r7, pc}\n"

/* Two inputs into r3 and r4. Where they may be negative, r12 becomes 2^7 (255 - x0 - x1) in both
 * halves: added to a sum of u x, it makes it (u0 - 128) x0 + (u1 - 128) x1 + 32640 > 0. */
#define INPUTS_POSITIVE(i)                                                                         \
    "ldrb r3, [r2, #" #i "]\n"                                                                     \
    "ldrb r4, [r2, #" #i " + 1]\n"
#define INPUTS_SIGNED(i)                                                                           \
    "movs r3, #" #i "\n"                                                                           \
    "ldrsb r3, [r2, r3]\n"                                                                         \
    "movs r4, #" #i " + 1\n"                                                                       \
    "ldrsb r4, [r2, r4]\n"                                                                         \
    "movs r5, #255\n"                                                                              \
    "subs r5, r3\n"                                                                                \
    "subs r5, r4\n"                                                                                \
    "lsls r6, r5, #16\n"                                                                           \
    "adds r5, r6\n"                                                                                \
    "lsls r5, #7\n"                                                                                \
    "mov r12, r5\n"
#define OFFSET_POSITIVE
#define OFFSET_SIGNED "add r5, r12\n"

/* The weights of a pair for two inputs into r5 and r6, yet to be masked with r7. */
#define WEIGHTS_INT8(from)                                                                         \
    "ldmia " from "!, {r5}\n"                                                                      \
    "lsrs r6, r5, #8\n"
#define WEIGHTS_INT16(from)                                                                        \
    "ldmia " from "!, {r5, r6}\n"                                                                  \
    "lsrs r5, #8\n"                                                                                \
    "lsrs r6, #8\n"

#define PAIR(TYPE, SIGN, from, total, high)                                                        \
    WEIGHTS_##TYPE(from)                                                                           \
    "ands r5, r7\n"                                                                                \
    "ands r6, r7\n"                                                                                \
    "muls r5, r3\n"                                                                                \
    "muls r6, r4\n"                                                                                \
    "adds r5, r6\n" OFFSET_##SIGN                                                                  \
    "add " total ", r5\n"                                                                          \
    "lsrs r5, #16\n"                                                                               \
    "add " high ", r5\n"
#define TWO_INPUTS(TYPE, SIGN, i)                                                                  \
    INPUTS_##SIGN(i) PAIR(TYPE, SIGN, "r0", "r8", "r9") PAIR(TYPE, SIGN, "r1", "r10", "r11")

/* The sums behind the highs and totals to where r0 points. */
#define STORE_SUMS                                                                                 \
    "mov r1, r8\n"                                                                                 \
    "mov r2, r9\n"                                                                                 \
    "lsls r3, r2, #16\n"                                                                           \
    "subs r1, r3\n"                                                                                \
    "mov r3, r10\n"                                                                                \
    "mov r4, r11\n"                                                                                \
    "lsls r5, r4, #16\n"                                                                           \
    "subs r3, r5\n"                                                                                \
    "stmia r0!, {r1-r4}\n"

/* Totals and highs such that every sum is r5, and r7 the mask. */
#define START_SUMS                                                                                 \
    "lsls r4, r5, #16\n"                                                                           \
    "adds r4, r5\n"                                                                                \
    "mov r8, r4\n"                                                                                 \
    "mov r9, r5\n"                                                                                 \
    "mov r10, r4\n"                                                                                \
    "mov r11, r5\n"                                                                                \
    "movs r7, #255\n"                                                                              \
    "lsls r4, r7, #16\n"                                                                           \
    "orrs r7, r4\n"

/* One of the loops below, all else being the same: */
enum { INT8_POSITIVE, INT8_SIGNED, INT16_POSITIVE, INT16_SIGNED, INT16_LISTED };
#define LOOP(number, body)                                                                         \
    "cmp r6, #" #number "\n"                                                                       \
    "bne 2f\n"                                                                                     \
    "1:\n" body "bne 1b\n"                                                                         \
    "b 9f\n"                                                                                       \
    "2:\n"
#define NEXT(inputs)                                                                               \
    "adds r2, #" #inputs "\n"                                                                      \
    "cmp r2, lr\n"

#define PAIR_LISTED(from, total, high)                                                             \
    "ldr r6, [" from ", r4]\n"                                                                     \
    "lsrs r6, #8\n"                                                                                \
    "ands r6, r7\n"                                                                                \
    "muls r6, r5\n"                                                                                \
    "add " total ", r6\n"                                                                          \
    "lsrs r6, #16\n"                                                                               \
    "add " high ", r6\n"

/* sums[4]: two pairs, p and q, times at least one input: as many as are a multiple of 4, or as are
 * listed and none below 0. r0 p, r1 q, r2 x, r3 list, lr end, r7 mask, r8 to r11 totals and highs. */
static __attribute__((naked, noinline)) void dot4(const uint32_t *p, const uint32_t *q,
                                                  int32_t *sums, const q8_dot *dot) {
    __asm__(SAVE
            "push {r2}\n"
            "ldmia r3, {r2-r6}\n"
            "mov lr, r4\n" START_SUMS
            LOOP(0, TWO_INPUTS(INT8, POSITIVE, 0) TWO_INPUTS(INT8, POSITIVE, 2) NEXT(4))
            LOOP(1, TWO_INPUTS(INT8, SIGNED, 0) NEXT(2))
            LOOP(2, TWO_INPUTS(INT16, POSITIVE, 0) TWO_INPUTS(INT16, POSITIVE, 2) NEXT(4))
            LOOP(3, TWO_INPUTS(INT16, SIGNED, 0) NEXT(2))
            "1:\n"
            "ldrh r4, [r3]\n"
            "adds r3, #2\n"
            "ldrb r5, [r2, r4]\n"
            "lsls r4, #2\n" PAIR_LISTED("r0", "r8", "r9") PAIR_LISTED("r1", "r10", "r11")
            "cmp r3, lr\n"
            "bne 1b\n"
            "9:\n"
            "pop {r0}\n" STORE_SUMS RETURN);
}

/* clang-format on */

static void prepare_dot(q8_dot *dot, int wide, const q8_inputs *in) {
    if (in->list != NULL) {
        dot->done = wide && in->positive ? in->n : 0;
        dot->end = in->list + dot->done;
        dot->loop = INT16_LISTED;
        return;
    }
    dot->done = in->n & ~3u;
    dot->end = in->x + dot->done;
    dot->loop = wide ? INT16_POSITIVE : INT8_POSITIVE;
    if (!in->positive) { /* what the inputs' offset makes too much */
        dot->loop++;
        dot->start += 128 * in->sum - 32640 / 2 * (int32_t)dot->done;
        for (uint32_t i = dot->done; i < in->n; i++) {
            dot->start -= 128 * in->x[i];
        }
    }
}

/* clang-format off */
/* update_words() for one of the four inputs in r0, which goes to r5: product, rounded and shifted, in
 * both halves; added; watched. */
#define UPDATE(input)                                                                              \
    input                                                                                          \
    "muls r5, r2\n"                                                                                \
    "add r5, r8\n"                                                                                 \
    "lsrs r5, r4\n"                                                                                \
    "ands r5, r3\n"                                                                                \
    "ldr r6, [r1]\n"                                                                               \
    "adds r6, r5\n"                                                                                \
    "add r6, r9\n"                                                                                 \
    "lsls r5, r6, #1\n"                                                                            \
    "orrs r5, r6\n"                                                                                \
    "ands r7, r5\n"                                                                                \
    "add r6, r10\n"                                                                                \
    "stmia r1!, {r6}\n"

/* Twice the lower half of a register. */
#define BOTH(register, free)                                                                       \
    "lsls " free ", " register ", #16\n"                                                           \
    "adds " register ", " free "\n"

/* r12 x, 4-aligned, r1 w, r2 factor, r3 mask, r4 shift, r7 watch, r8 rounding, r9 offset, r10
 * -WATCHED, r11 end. */
static __attribute__((naked, noinline)) uint32_t update_words(const int8_t *x, uint32_t *w,
                                                              const int8_t *end,
                                                              const q8_change *change) {
    __asm__(SAVE
            "mov r12, r0\n"
            "mov r11, r2\n"
            "ldmia r3, {r2-r5}\n"
            "lsls r3, #16\n"
            "adds r2, r3\n"
            "movs r6, #1\n"
            "lsls r6, #14\n" /* LIFT */
            "adds r5, r6\n" BOTH("r5", "r3")
            "mov r8, r5\n"
            "lsrs r6, r4\n" BOTH("r6", "r3")
            "movs r5, #32\n"
            "lsls r5, #8\n" BOTH("r5", "r3") /* WATCHED */
            "subs r6, r5, r6\n"
            "mov r9, r6\n"
            "rsbs r5, #0\n"
            "mov r10, r5\n"
            "movs r7, #0\n"
            "mvns r7, r7\n"
            "lsrs r3, r7, #16\n"
            "lsrs r3, r4\n" BOTH("r3", "r5")
            "1:\n"
            "mov r5, r12\n"
            "ldmia r5!, {r0}\n"
            "mov r12, r5\n"
            UPDATE("sxtb r5, r0\n")
            UPDATE("lsls r5, r0, #16\n" "asrs r5, #24\n")
            UPDATE("lsls r5, r0, #8\n" "asrs r5, #24\n")
            UPDATE("asrs r5, r0, #24\n")
            "cmp r12, r11\n"
            "bne 1b\n"
            "mov r0, r7\n" RETURN);
}

/* clang-format on */

#pragma GCC diagnostic pop

#endif
