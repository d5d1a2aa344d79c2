/* Patches: what one output of a convolution sees, copied together. Bytes alone, whatever they mean.
 */
#include "internal.h"

/* Words that may be of any type. Four copied as a struct are one load and one store on ARM. */
typedef uint32_t word __attribute__((may_alias));
typedef struct __attribute__((may_alias)) {
    uint32_t words[4];
} four_words;

static inline void copy_words(word *to, const word *from, uint32_t n) {
    for (; n >= 4; n -= 4, to += 4, from += 4) {
        *(four_words *)to = *(const four_words *)from;
    }
    if (n & 2u) {
        *to++ = *from++;
        *to++ = *from++;
    }
    if (n & 1u) {
        *to = *from;
    }
}

/* Channels are few or many, and often a multiple of 4: whole words then. */
static inline void copy(uint8_t *restrict to, const uint8_t *restrict from, uint32_t bytes) {
    if ((((uintptr_t)to | (uintptr_t)from | bytes) & 3u) == 0) {
        copy_words((word *)(void *)to, (const word *)(const void *)from, bytes / 4u);
        return;
    }
    for (uint32_t i = 0; i < bytes; i++) {
        to[i] = from[i];
    }
}

static void clear(uint8_t *to, uint32_t bytes) {
    for (uint32_t i = 0; i < bytes; i++) {
        to[i] = 0;
    }
}

void tinc_gather(const tinc_layer *layer, const void *input, uint32_t input_from, uint32_t y,
                 uint32_t x, uint32_t size, void *patch) {
    const uint32_t cell = layer->input_shape[2] * size; /* bytes of one pixel */
    const uint32_t from_step = layer->input_shape[1] * cell, to_step = layer->kernel[1] * cell;
    const tinc_span rows = tinc_inside(layer, 0, y), columns = tinc_inside(layer, 1, x);
    if (rows.count < layer->kernel[0] || columns.count < layer->kernel[1]) {
        clear(patch, layer->kernel[0] * to_step);
    }
    const uint8_t *from =
        (const uint8_t *)input + (rows.at - input_from) * from_step + columns.at * cell;
    uint8_t *to = (uint8_t *)patch + rows.tap * to_step + columns.tap * cell;
    for (uint32_t i = 0; i < rows.count; i++, from += from_step, to += to_step) {
        copy(to, from, columns.count * cell);
    }
}
