/* What the checks of an image share: comparisons that cannot overflow, divide or use float
 * arithmetic, since an integer-only core must link where there is neither. */
#ifndef TINYINC_CHECK_H
#define TINYINC_CHECK_H

#include "fixed.h"

#define MOST_BYTES 0x7FFFFFF8u

/* Byte offset of a field, for faults that name one. */
#define AT(type, field) ((uint32_t)offsetof(type, field))

#define COUNT(array) ((uint32_t)(sizeof(array) / sizeof(array)[0]))

/* Q8: steps of the input and of outputs. */
#define LEAST_STEP 0x1p-24f
#define MOST_STEP 0x1p24f

/* The word of a record at a byte. */
static inline const tinc_word *tinc_word_at(const void *record, uint32_t field) {
    return (const tinc_word *)(const void *)((const uint8_t *)record + field);
}

/* Is a float, read where it lies, a power of two in [low, high]? */
int tinc_is_power(const float *x, float low, float high);

/* a * b, or a number above MOST_BYTES where that is; b is at most 65535. */
uint32_t tinc_product(uint32_t a, uint32_t b);

/* Is [offset, offset + bytes) inside a section, and aligned to 8? */
int tinc_fits(uint32_t offset, uint32_t bytes, uint32_t section_bytes);

/* Are `bytes` bytes, a multiple of 4 and aligned to 4, all 0? */
int tinc_all_zero(const void *data, size_t bytes);

/* ---- layers.c ---- */

/* Every field of a layer, once the header, the section table and the layers before it are known to
 * be right. O(1). */
int tinc_check_layer(tinc_net *net, uint32_t l);

/* The layers that run strip by strip, once all layers are known to be right. */
int tinc_check_stage(tinc_net *net);

/* Every value of a layer's tensors. */
int tinc_check_tensors(tinc_net *net, uint32_t l);

#endif
