/* Gradient top-k: which k elements are the largest in magnitude. */
#include "internal.h"

/* Gradients of either format are words that order as their magnitudes do once the sign is off. */
static inline uint32_t magnitude(const tinc_word *words, uint32_t index, int integers) {
    const uint32_t word = words[index];
    if (TINYINC_F32 && !integers) {
        return word & 0x7FFFFFFFu;
    }
    return word >> 31 != 0 ? 0u - word : word;
}

/* ---- for a gradient: most of it may be 0, and the list has room for all that is not ---- */

#define DIGIT 6 /* bits by which keys are told apart at a time */

/* The k-th largest of the listed keys, digit by digit. As soon as no more keys begin like it than
 * are wanted, that beginning is enough. *equal gets how many keys equal to it are to be taken. */
static __attribute__((noinline)) uint32_t kth_largest(const tinc_word *words, const uint16_t *list,
                                                      const uint16_t *end, size_t k, int integers,
                                                      size_t *equal) {
    unsigned above = !TINYINC_F32 || integers ? 15 : 31; /* bits from here on are known */
    uint32_t kth = 0;
    for (;;) {
        const unsigned shift = above > DIGIT ? above - DIGIT : 0;
        uint16_t count[1u << DIGIT] = {0};
        const uint16_t *at = list;
        do {
            const uint32_t rest = magnitude(words, *at, integers) ^ kth;
            if (rest >> above == 0) {
                count[rest >> shift]++;
            }
        } while (++at < end);
        uint32_t digit = (1u << (above - shift)) - 1u;
        while (count[digit] < k) {
            k -= count[digit--];
        }
        kth |= digit << shift;
        if (count[digit] == k || shift == 0) {
            *equal = shift == 0 ? k : (size_t)(end - list);
            return kth;
        }
        above = shift;
    }
}

size_t tinc_select(const void *gradient, size_t n, size_t k, uint16_t *list, int integers) {
    const tinc_word *words = gradient;
    uint16_t *end = list, *kept = list;
    size_t equal = 0;
    while (n > 0 && words[n - 1u] << 1 == 0) { /* no integer is so large as to lose its only bit */
        n--;
    }
    for (size_t i = 0; i < n; i++) { /* no branch to mispredict: an index may be overwritten */
        *end = (uint16_t)i;
        if (words[i] << 1 != 0) {
            end++;
        }
    }
    if (end <= list + k) {
        return (size_t)(end - list);
    }
    const uint32_t kth = kth_largest(words, list, end, k, integers, &equal);
    const uint16_t *at = list;
    do {
        const uint32_t key = magnitude(words, *at, integers);
        if (key > kth) {
            *kept++ = *at;
        } else if (key == kth && equal > 0) {
            *kept++ = *at;
            equal--;
        }
    } while (++at < end);
    return (size_t)(kept - list);
}

#if TINYINC_F32

/* ---- for callers, with room for k indices only ---- */

/* Is a to be dropped before b? Of equals the higher index goes first. */
static inline int weaker(const tinc_word *words, uint16_t a, uint16_t b) {
    const uint32_t key_a = magnitude(words, a, 0), key_b = magnitude(words, b, 0);
    return key_a < key_b || (key_a == key_b && a > b);
}

/* Restore the heap below `root`, whose weakest element is to be on top. */
static void sift(uint16_t *heap, size_t n, size_t root, const tinc_word *words) {
    const uint16_t moving = heap[root];
    for (;;) {
        size_t child = 2u * root + 1u;
        if (child >= n) {
            break;
        }
        if (child + 1u < n && weaker(words, heap[child + 1u], heap[child])) {
            child++;
        }
        if (!weaker(words, heap[child], moving)) {
            break;
        }
        heap[root] = heap[child];
        root = child;
    }
    heap[root] = moving;
}

size_t tinc_topk(const float *values, size_t n, size_t k, uint16_t *indices) {
    const tinc_word *words = (const tinc_word *)(const void *)values;
    size_t kept = 0, i = 0;
    for (; i < n && kept < k; i++) {
        indices[kept] = (uint16_t)i;
        kept += magnitude(words, (uint32_t)i, 0) != 0;
    }
    while (i < n && magnitude(words, (uint32_t)i, 0) == 0) {
        i++;
    }
    if (i == n) {
        return kept; /* no more than k are not zero: all of them, in order */
    }
    for (size_t root = k / 2u; root-- > 0;) {
        sift(indices, k, root, words);
    }
    for (; i < n; i++) {
        if (weaker(words, indices[0], (uint16_t)i)) {
            indices[0] = (uint16_t)i;
            sift(indices, k, 0, words);
        }
    }
    /* The top of the heap is the weakest that stays: all that are not weaker, in order. */
    const uint16_t last = indices[0];
    for (i = 0, kept = 0; kept < k; i++) {
        if (!weaker(words, (uint16_t)i, last)) {
            indices[kept++] = (uint16_t)i;
        }
    }
    return k;
}

#endif
