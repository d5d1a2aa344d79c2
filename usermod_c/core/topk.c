/* Gradient top-k: which k elements are the largest in magnitude. */
#include "internal.h"

/* Is a to be dropped before b? Of equals the higher index goes first. */
static int weaker(const float *values, uint16_t a, uint16_t b) {
    const uint32_t key_a = tinc_magnitude_bits(values[a]);
    const uint32_t key_b = tinc_magnitude_bits(values[b]);
    return key_a < key_b || (key_a == key_b && a > b);
}

/* Restore the heap below `root`, whose weakest element is to be on top. */
static void sift(uint16_t *heap, size_t n, size_t root, const float *values) {
    const uint16_t moving = heap[root];
    for (;;) {
        size_t child = 2u * root + 1u;
        if (child >= n) {
            break;
        }
        if (child + 1u < n && weaker(values, heap[child + 1u], heap[child])) {
            child++;
        }
        if (!weaker(values, heap[child], moving)) {
            break;
        }
        heap[root] = heap[child];
        root = child;
    }
    heap[root] = moving;
}

size_t tinc_topk(const float *values, size_t n, size_t k, uint16_t *indices) {
    size_t kept = 0, i = 0;
    for (; i < n && kept < k; i++) {
        indices[kept] = (uint16_t)i;
        kept += tinc_magnitude_bits(values[i]) != 0;
    }
    if (i == n) {
        return kept; /* no more than k are not zero: all of them, in order */
    }
    for (size_t root = k / 2u; root-- > 0;) {
        sift(indices, k, root, values);
    }
    for (; i < n; i++) {
        if (weaker(values, indices[0], (uint16_t)i)) {
            indices[0] = (uint16_t)i;
            sift(indices, k, 0, values);
        }
    }
    /* The top of the heap is the weakest that stays: all that are not weaker, in order. */
    const uint16_t last = indices[0];
    for (i = 0, kept = 0; kept < k; i++) {
        if (!weaker(values, (uint16_t)i, last)) {
            indices[kept++] = (uint16_t)i;
        }
    }
    return k;
}
