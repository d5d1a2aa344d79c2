/* Gradient top-k: which k elements are the largest in magnitude. */
#include "internal.h"

/* Gradients of either format are words that order as their magnitudes do once the sign is off. */
static inline uint32_t magnitude(const tinc_word *words, uint32_t index, int integers) {
    const uint32_t word = words[index];
    return !integers ? word & 0x7FFFFFFFu : word >> 31 != 0 ? 0u - word : word;
}

/* ---- for a gradient: most of it may be 0, and the list has room for all that is not ---- */

#define DIGIT 6 /* bits by which keys are told apart at a time */

/* The k-th largest of the listed keys, digit by digit, from the first in which any two differ. As
 * soon as no more keys begin like it than are wanted, that beginning is enough. *equal gets how
 * many of the keys that equal it are to be taken. */
static uint32_t kth_largest(const tinc_word *words, const uint16_t *list, size_t listed, size_t k,
                            uint32_t common, uint32_t different, int integers, size_t *equal) {
    unsigned above = 31; /* bits from here on are known */
    while (different >> (above - 1u) == 0) {
        above--;
    }
    uint32_t kth = common >> above << above;
    for (;;) {
        const unsigned shift = above > DIGIT ? above - DIGIT : 0;
        uint16_t count[1u << DIGIT] = {0};
        for (size_t i = 0; i < listed; i++) {
            const uint32_t rest = magnitude(words, list[i], integers) ^ kth;
            if (rest >> above == 0) {
                count[rest >> shift]++;
            }
        }
        uint32_t digit = (1u << (above - shift)) - 1u;
        while (count[digit] < k) {
            k -= count[digit--];
        }
        kth |= digit << shift;
        if (count[digit] == k || shift == 0) {
            *equal = shift == 0 ? k : listed;
            return kth;
        }
        above = shift;
    }
}

size_t tinc_select(const void *gradient, size_t n, size_t k, uint16_t *list, int integers) {
    const tinc_word *words = gradient;
    size_t listed = 0, kept = 0, equal = 0;
    uint32_t any = 0, all = 0xFFFFFFFFu;
    for (size_t i = 0; i < n; i++) {
        if (words[i] << 1 != 0) { /* no integer is so large that it loses its only bit */
            list[listed++] = (uint16_t)i;
        }
    }
    if (listed <= k) {
        return listed;
    }
    for (size_t i = 0; i < listed; i++) {
        const uint32_t key = magnitude(words, list[i], integers);
        any |= key;
        all &= key;
    }
    if (any == all) {
        return k;
    }
    const uint32_t kth = kth_largest(words, list, listed, k, all, any ^ all, integers, &equal);
    for (size_t i = 0; i < listed; i++) {
        const uint32_t key = magnitude(words, list[i], integers);
        if (key > kth || (key == kth && equal > 0)) {
            equal -= key == kth;
            list[kept++] = list[i];
        }
    }
    return kept;
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
