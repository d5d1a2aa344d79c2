/* exp, log and 1 / sqrt in float32, since no libm is there. */
#include "internal.h"

#define LN2_HIGH 0.693145752f /* 15 bits of ln 2, so that n * LN2_HIGH is exact */
#define LN2_LOW 1.42860677e-6f

float tinc_exp(float x) {
    if (x > 88.0f) {
        return x <= 88.7228f ? tinc_exp(x - 1.0f) * 2.71828183f : 3.40282347e38f;
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
    return (series + 1.0f) * tinc_bits_float((uint32_t)(n + 127) << 23);
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
