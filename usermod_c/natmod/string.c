/* The two functions of the C library that a compiler calls on its own, for structures that it
 * clears or copies: a native module has no C library. */
#include <stddef.h>

void *memset(void *to, int byte, size_t n);
void *memcpy(void *restrict to, const void *restrict from, size_t n);

void *memset(void *to, int byte, size_t n) {
    unsigned char *const bytes = to;
    for (size_t i = 0; i < n; i++) {
        bytes[i] = (unsigned char)byte;
    }
    return to;
}

void *memcpy(void *restrict to, const void *restrict from, size_t n) {
    unsigned char *const bytes = to;
    const unsigned char *const source = from;
    for (size_t i = 0; i < n; i++) {
        bytes[i] = source[i];
    }
    return to;
}
