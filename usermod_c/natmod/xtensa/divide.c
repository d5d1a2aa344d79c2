/* The division of floats that a compiler calls for on Xtensa, whose FPU has none: rounded to
 * nearest, ties to even, as IEEE 754 says. A native module is linked without the compiler's
 * library.
 */
#include <stdint.h>

#define SIGN 0x80000000u
#define INFINITE 0x7F800000u
#define NOT_A_NUMBER 0x7FC00000u

float __divsf3(float a, float b);

typedef union {
    float number;
    uint32_t bits;
} bits_of_float;

/* The mantissa of a positive number that is not 0, its highest bit in place 23; gives the exponent
 * as it is stored, below 1 for numbers that are not normal. */
static uint32_t mantissa_of(uint32_t bits, int32_t *exponent) {
    *exponent = (int32_t)(bits >> 23);
    if (*exponent > 0) {
        return (bits & 0x7FFFFFu) | 0x800000u;
    }
    for (*exponent = 1; bits < 0x800000u; bits <<= 1) {
        *exponent -= 1;
    }
    return bits;
}

/* Of two positive numbers that are neither 0 nor infinite. */
static uint32_t quotient_of(uint32_t a, uint32_t b) {
    int32_t exponent, below;
    uint32_t rest = mantissa_of(a, &exponent), quotient = 0;
    const uint32_t divisor = mantissa_of(b, &below);
    exponent += 127 - below;
    if (rest < divisor) {
        rest <<= 1;
        exponent--;
    }
    for (int bit = 0; bit < 26; bit++) { /* 24, the first that is cut, and one for all the others */
        const uint32_t fits = rest >= divisor;
        quotient = quotient << 1 | fits;
        rest = (rest - (fits ? divisor : 0)) << 1;
    }
    quotient |= rest != 0;
    for (; exponent < 1 && quotient > 1; exponent++) { /* too small for a normal number */
        quotient = quotient >> 1 | (quotient & 1u);
    }
    if (exponent < 1) {
        return 0;
    }
    if (exponent > 254) {
        return INFINITE;
    }
    const uint32_t result = ((uint32_t)(exponent - 1) << 23) + (quotient >> 2), cut = quotient & 3u;
    return result + (cut == 3 || (cut == 2 && (result & 1u)));
}

float __divsf3(float a, float b) {
    const bits_of_float x = {a}, y = {b};
    const uint32_t sign = (x.bits ^ y.bits) & SIGN;
    const uint32_t up = x.bits & ~SIGN, down = y.bits & ~SIGN;
    bits_of_float result;
    if (up > INFINITE || down > INFINITE || (up == down && (up == 0 || up == INFINITE))) {
        result.bits = NOT_A_NUMBER;
    } else if (up == INFINITE || down == 0) {
        result.bits = sign | INFINITE;
    } else if (up == 0 || down == INFINITE) {
        result.bits = sign;
    } else {
        result.bits = sign | quotient_of(up, down);
    }
    return result.number;
}
