/* What a C library would have given: exp, log and 1 / sqrt in float32, and the same in integers. */
#include "fixed.h"

#if TINYINC_F32

#define LN2_HIGH 0.693145752f /* 15 bits of ln 2, so that n * LN2_HIGH is exact */
#define LN2_LOW 1.42860677e-6f

float tinc_exp(float x) {
    float factor = 1.0f;
    if (x > 88.0f) { /* 2^128 has no float */
        if (x > 88.7228f) {
            return 3.40282347e38f;
        }
        x -= 1.0f;
        factor = 2.71828183f;
    }
    if (!(x >= -87.0f)) {
        return 0.0f;
    }
    /* exp x = 2^n exp r with |r| <= ln 2 / 2, exp r by its Taylor series to r^7. */
    const int32_t n = (int32_t)(x * 1.44269504f + (x < 0.0f ? -0.5f : 0.5f));
    const float r = (x - (float)n * LN2_HIGH) - (float)n * LN2_LOW;
    float series = 1.0f / 5040.0f;
    series = series * r + 1.0f / 720.0f;
    series = series * r + 1.0f / 120.0f;
    series = series * r + 1.0f / 24.0f;
    series = series * r + 1.0f / 6.0f;
    series = series * r + 0.5f;
    series = series * r * r + r;
    return (series + 1.0f) * tinc_bits_float((uint32_t)(n + 127) << 23) * factor;
}

float tinc_log(float x) {
    /* x = m 2^e with m in [sqrt 1/2, sqrt 2); log m = 2 artanh s, s = (m - 1) / (m + 1). */
    const uint32_t bits = tinc_float_bits(x);
    const uint32_t shifted = bits - 0x3F3504F3u;
    const int32_t e = (int32_t)(shifted & 0xFF800000u) / (1 << 23);
    const float m = tinc_bits_float(bits - (uint32_t)e * (1u << 23));
    const float s = (m - 1.0f) / (m + 1.0f);
    const float z = s * s;
    float series = 2.0f / 9.0f;
    series = series * z + 2.0f / 7.0f;
    series = series * z + 2.0f / 5.0f;
    series = series * z + 2.0f / 3.0f;
    return (float)e * LN2_HIGH + (2.0f * s + (series * z * s + (float)e * LN2_LOW));
}

float tinc_rsqrt(float x) {
    float y = tinc_bits_float(0x5F3759DFu - (tinc_float_bits(x) >> 1));
    for (int step = 0; step < 4; step++) { /* Newton: each step doubles the correct digits */
        y = y * (1.5f - 0.5f * x * y * y);
    }
    return y;
}

#endif

uint32_t tinc_next(tinc_state *state) {
    state->generator = tinc_advance(state->generator);
    return state->generator;
}

extern inline uint32_t tinc_bit_length(uint32_t x);

uint32_t tinc_multiply_high(uint32_t a, uint32_t b) {
    const uint32_t a1 = a >> 16, a0 = a & 0xFFFFu, b1 = b >> 16, b0 = b & 0xFFFFu;
    const uint32_t middle = a1 * b0 + (a0 * b0 >> 16); /* below 2^32, as the next sum */
    return a1 * b1 + (middle >> 16) + ((a0 * b1 + (middle & 0xFFFFu)) >> 16);
}

uint32_t tinc_divide(uint32_t high, uint32_t low, uint32_t divisor, uint32_t *remainder) {
    for (uint32_t bit = 0; bit < 32; bit++) { /* the quotient moves into low from below */
        const uint32_t carry = high >> 31;
        high = high << 1 | low >> 31;
        low <<= 1;
        if (carry || high >= divisor) {
            high -= divisor;
            low |= 1u;
        }
    }
    *remainder = high;
    return low;
}

/* The mantissa, with the highest bit set, or 0. */
static uint32_t mantissa_of(tinc_bits x) {
    return tinc_bits_exponent(x) == -127 ? 0 : x << 8 | 1u << 31;
}

tinc_bits tinc_bits_of(uint32_t m, int32_t e) {
    const uint32_t shift = m >> 31 != 0 ? 0 : 32u - tinc_bit_length(m); /* 0 is frequent */
    const int32_t exponent = e - (int32_t)shift + 31 + 127;
    if (m == 0 || exponent < 1) {
        return 0;
    }
    if (exponent >= 127 + 127) {
        return (uint32_t)(127 + 127) << 23;
    }
    m <<= shift; /* rounding up to the next power of two carries into the exponent, as it should */
    return ((uint32_t)exponent << 23) + (m >> 8 & 0x7FFFFFu) + (m >> 7 & 1u);
}

uint32_t tinc_bits_fixed(tinc_bits x, int32_t point) {
    const uint32_t m = mantissa_of(x);
    const int32_t shift = 31 - tinc_bits_exponent(x) - point; /* to the right */
    if (m == 0 || shift > 32) {
        return 0;
    }
    if (shift <= 0) {
        return shift == 0 ? m : 0xFFFFFFFFu;
    }
    const uint32_t doubled = m >> (shift - 1);
    return (doubled >> 1) + (doubled & 1u);
}

tinc_bits tinc_bits_multiply(tinc_bits a, tinc_bits b) {
    return tinc_bits_of(tinc_multiply_high(mantissa_of(a), mantissa_of(b)),
                        tinc_bits_exponent(a) + tinc_bits_exponent(b) - 30);
}

tinc_bits tinc_bits_divide(tinc_bits a, tinc_bits b) {
    uint32_t remainder;
    const uint32_t m = mantissa_of(a);
    return tinc_bits_of(tinc_divide(m >> 1, m << 31, mantissa_of(b), &remainder),
                        tinc_bits_exponent(a) - tinc_bits_exponent(b) - 31);
}

tinc_bits tinc_bits_add(tinc_bits a, tinc_bits b) {
    const tinc_bits high = a > b ? a : b, low = a > b ? b : a;
    const int32_t exponent = tinc_bits_exponent(high);
    const int32_t shift = exponent - tinc_bits_exponent(low) + 1;
    const uint32_t added = shift > 31 ? 0 : mantissa_of(low) >> shift;
    return tinc_bits_of((mantissa_of(high) >> 1) + added, exponent - 30);
}

tinc_bits tinc_bits_exp2(uint32_t x) {
    /* 2^-f = 1 - f (c1 - f (c2 - ...)), coefficients times 2^32 for the least relative error in
     * [0, 1) */
    const uint32_t coefficients[] = {4058329, 39538599, 237500343, 1031565858, 2977029614u};
    const uint32_t f = x << 7;
    uint32_t missing = 0; /* of 2^32 */
    for (uint32_t i = 0; i < 5; i++) {
        missing = tinc_multiply_high(f, coefficients[i] - missing);
    }
    const int32_t whole = (int32_t)(x >> 25);
    return missing == 0 ? tinc_bits_of(1, -whole) : tinc_bits_of(0u - missing, -32 - whole);
}

int32_t tinc_bits_log2(tinc_bits x) {
    /* The bits behind the point of log2 m: squaring doubles it, and shows the next. */
    uint32_t m = mantissa_of(x), fraction = 0;
    for (uint32_t bit = 0; bit < 16; bit++) {
        m = tinc_multiply_high(m, m);
        fraction = fraction << 1 | m >> 31;
        m = m >> 31 ? m : m << 1;
    }
    return tinc_bits_exponent(x) * 65536 + (int32_t)fraction;
}

int32_t tinc_fixed(float x, int32_t point, uint32_t most) {
    const uint32_t magnitude = tinc_bits_fixed(tinc_magnitude_bits(x), point);
    const int32_t fixed = (int32_t)(magnitude < most ? magnitude : most);
    return tinc_float_bits(x) >> 31 ? -fixed : fixed;
}
