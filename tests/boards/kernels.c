/* Do a machine's own q8 kernels give what the plain ones give, to the last bit? Compiled twice as
 * KERNELS, with -DTINYINC_PLAIN for the one, and once without as the program, which compares them
 * on random and extreme data and prints how many cases it saw. */
#ifdef KERNELS

#include "q8_lanes.h"

void KERNELS(dot)(int masters, int32_t *sums, const uint32_t *w, uint32_t stride,
                  const q8_inputs *in) {
    const q8_dot dot = q8_dot_of(masters, in);
    q8_dot4(&dot, masters, w, w + stride, in, sums);
}

unsigned KERNELS(update)(uint32_t *w, const q8_inputs *in, const int32_t d[2], unsigned s,
                         uint32_t round) {
    const q8_change change = {{d[0], d[1]}, s, round};
    return q8_update2_int16(w, in, &change);
}

uint32_t KERNELS(survey)(const int8_t *x, uint32_t n, int32_t *sum, int32_t *all) {
    return q8_survey(x, n, sum, all);
}

#else

#include "machine.h"
#include "q8.h"

#define DECLARE(kernels)                                                                           \
    void kernels##_dot(int, int32_t *, const uint32_t *, uint32_t, const q8_inputs *);             \
    unsigned kernels##_update(uint32_t *, const q8_inputs *, const int32_t *, unsigned, uint32_t); \
    uint32_t kernels##_survey(const int8_t *, uint32_t, int32_t *, int32_t *)
DECLARE(own);
DECLARE(plain);

#define MOST 100
static uint32_t w[2][2 * MOST + 2], state;
static int8_t buffer[MOST + 4] __attribute__((aligned(4)));
static uint16_t list[MOST];

static uint32_t any(uint32_t below) {
    state = tinc_advance(state);
    return (state >> 8) % below;
}

/* Weights: all kinds, the least, the greatest, or either by halves. */
static uint32_t weights(unsigned mode) {
    if (mode == 0) {
        return any(1u << 16) << 16 | any(1u << 16);
    }
    return mode == 1 ? 0 : mode == 2 ? 0xFFFFFFFFu : any(2) ? 0xFFFF0000u : 0x0000FFFFu;
}

/* Inputs: all kinds, the greatest and the least, with zeros among them. */
static int8_t input(unsigned mode, int with_sign) {
    const int x = mode == 0 ? (int)any(128) : any(3) ? 127 : 0;
    return (int8_t)(with_sign && (mode == 2 || any(2)) ? -x : x);
}

/* Random inputs at any address, all or listed. */
static q8_inputs inputs(unsigned mode, int with_sign, int listed) {
    int8_t *x = buffer + any(4);
    q8_inputs in = {.x = x, .n = any(MOST + 1), .positive = !with_sign};
    const uint32_t n = in.n;
    for (uint32_t i = 0; i < n; i++) {
        x[i] = input(mode, with_sign);
    }
    if (listed) {
        in.list = list;
        in.n = 0;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (!listed || any(2)) {
            in.sum += x[i];
            list[in.n] = (uint16_t)i;
            in.n += listed ? 1u : 0;
        }
    }
    return in;
}

static int dots_agree(int masters, unsigned mode, int with_sign, int listed) {
    const q8_inputs in = inputs(mode, with_sign, listed);
    const uint32_t stride = masters ? MOST : MOST / 2u;
    int32_t sums[2][4] = {{0}};
    for (uint32_t i = 0; i < 2 * MOST; i++) {
        w[0][i] = weights(mode);
    }
    own_dot(masters, sums[0], w[0], stride, &in);
    plain_dot(masters, sums[1], w[0], stride, &in);
    int same = 1;
    for (unsigned r = 0; r < 4; r++) {
        same &= sums[0][r] == sums[1][r];
    }
    return same;
}

/* Masters anywhere within +-24576, so that rows that grow too large are among them. */
static int updates_agree(unsigned mode, int listed) {
    const q8_inputs in = inputs(mode, 1, listed);
    const unsigned s = 1u + any(14);
    const int32_t most = s == 1 ? 126 : 127; /* no master moves by more than 8064 */
    const int32_t d[2] = {mode == 2 ? most : (int32_t)any(255) - 127,
                          mode == 3 ? -most : (int32_t)any(255) - 127};
    const uint32_t round = mode == 1 ? (1u << s) - 1u : any(1u << s), room = any(2) ? 49152 : 40000;
    for (uint32_t i = 0; i < MOST; i++) {
        w[0][i] = w[1][i] = (8192u + any(room)) | (8192u + any(room)) << 16;
    }
    int same = own_update(w[0], &in, d, s, round) == plain_update(w[1], &in, d, s, round);
    for (uint32_t i = 0; i < MOST; i++) {
        same &= w[0][i] == w[1][i];
    }
    return same;
}

static int surveys_agree(unsigned mode, int with_sign) {
    const q8_inputs in = inputs(mode, with_sign, 0);
    int32_t sum[2] = {0, 0}, all[2] = {0, 0};
    const uint32_t used = own_survey(in.x, in.n, &sum[0], &all[0]);
    return used == plain_survey(in.x, in.n, &sum[1], &all[1]) && sum[0] == sum[1] &&
           sum[0] == in.sum && (all[0] < 0) == (all[1] < 0);
}

int main(void) {
    int same = 1;
    state = 1;
    for (unsigned turn = 0; turn < 2000; turn++) {
        const unsigned mode = turn % 4u;
        const int with_sign = turn >> 2 & 1, listed = turn >> 3 & 1;
        same &= dots_agree(0, mode, with_sign, listed) & dots_agree(1, mode, with_sign, listed);
        same &= updates_agree(mode, listed) & surveys_agree(mode, with_sign);
    }
    write_text(same ? "same\n" : "different\n");
    return !same;
}

#endif
