/* Patches: what one output of a convolution sees, copied together. Bytes alone, whatever they mean.
 */
#include "internal.h"

extern inline tinc_span tinc_inside(const tinc_layer *layer, unsigned axis, uint32_t position);

/* Words that may be of any type. Several copied as a struct are one load and one store on ARM. */
typedef uint32_t word __attribute__((may_alias));
typedef struct __attribute__((may_alias)) {
    uint32_t words[3];
} three_words;
typedef struct __attribute__((may_alias)) {
    uint32_t words[8];
} eight_words;

static inline void copy_words(word *to, const word *from, uint32_t n) {
    if (n == 3) { /* a kernel three wide on one channel */
        *(three_words *)to = *(const three_words *)from;
        return;
    }
    for (; n >= 8; n -= 8, to += 8, from += 8) {
        *(eight_words *)to = *(const eight_words *)from;
    }
    for (; n > 0; n--) {
        *to++ = *from++;
    }
}

static inline void copy_bytes(uint8_t *restrict to, const uint8_t *restrict from, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        to[i] = from[i];
    }
}

static void clear(uint8_t *to, uint32_t n) {
    if ((((uintptr_t)to | n) & 3u) == 0) {
        for (word *at = (word *)(void *)to; n > 0; n -= 4) {
            *at++ = 0;
        }
    }
    while (n > 0) {
        to[--n] = 0;
    }
}

void tinc_gather(const tinc_layer *layer, const void *top, uint32_t rows, uint32_t x, uint32_t size,
                 void *patch) {
    const uint32_t cell = layer->input_shape[2] * size; /* bytes of one pixel */
    const uint32_t from_step = layer->input_shape[1] * cell, to_step = layer->kernel[1] * cell;
    const tinc_span columns = tinc_inside(layer, 1, x);
    if (columns.count < layer->kernel[1]) {
        clear(patch, rows * to_step);
    }
    const uint32_t bytes = columns.count * cell;
    const uint8_t *from = (const uint8_t *)top + columns.at * cell;
    uint8_t *to = (uint8_t *)patch + columns.tap * cell;
    if (((cell | (uintptr_t)top | (uintptr_t)patch) & 3u) == 0) {
        for (; rows > 0; rows--, from += from_step, to += to_step) {
            copy_words((word *)(void *)to, (const word *)(const void *)from, bytes / 4u);
        }
    } else {
        for (; rows > 0; rows--, from += from_step, to += to_step) {
            copy_bytes(to, from, bytes);
        }
    }
}
