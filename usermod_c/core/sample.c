/* Samples: from what a sensor gave to what the network sees. */
#include "fixed.h"

static uint32_t element_bytes(int typecode) {
    return typecode == 'b' || typecode == 'B'   ? 1
           : typecode == 'h' || typecode == 'H' ? 2
           : typecode == 'f'                    ? 4
                                                : 0;
}

size_t tinc_sample_bytes(const tinc_net *net) {
    return tinc_is_q8(net) ? net->inputs : 4u * (size_t)net->inputs;
}

size_t tinc_feature_bytes(const tinc_net *net) {
    return tinc_is_q8(net) ? net->features : 4u * (size_t)net->features;
}

#if TINYINC_F32

#define LARGEST_FLOAT 3.40282347e38f

int tinc_check_sample(tinc_net *net, const float *x, uint32_t n, float most) {
    uint32_t i = 0;
    if (tinc_largest(x, n) <= most) { /* not so when a value is NaN */
        return TINC_OK;
    }
    while (tinc_largest(x + i, 1) <= most) {
        i++;
    }
    return tinc_fail(net, TINC_E_SAMPLE_VALUE, i, 0, 0);
}

#define CONVERT(type)                                                                              \
    for (size_t i = 0; i < n; i++) {                                                               \
        x[i] = (float)((const type *)raw)[i];                                                      \
    }

static int f32_normalise(tinc_net *net, const void *raw, size_t n, int typecode, float *x) {
    if (typecode == 'b') {
        CONVERT(int8_t)
    } else if (typecode == 'B') {
        CONVERT(uint8_t)
    } else if (typecode == 'h') {
        CONVERT(int16_t)
    } else if (typecode == 'H') {
        CONVERT(uint16_t)
    } else {
        CONVERT(float)
        if (tinc_check_sample(net, x, net->inputs, LARGEST_FLOAT)) {
            return net->fault.code;
        }
    }
    const float offset = net->header->input_offset, scale = net->header->input_scale;
    const float low = net->header->input_low, high = net->header->input_high;
    for (size_t i = 0; i < n; i++) {
        x[i] = tinc_clip((x[i] - offset) * scale, low, high);
    }
    return TINC_OK;
}

#endif

/* Q8: x = (raw factor + bias) >> shift, between low and high. */
typedef struct {
    uint32_t factor, bias; /* signed; sums may wrap on the way */
    int32_t shift, low, high;
} q8_line;

#define MOST_INT8 127u
#define MOST_SHIFT 30          /* a smaller gain keeps less bits */
#define MOST_FLOAT_BITS 16     /* of raw - offset of floats, where 2^8 to 2^9 make a step */
#define MOST_OFFSET (1u << 28) /* of integers */

/* x = (raw - offset) gain for integers that differ from the offset by up to `bits` bits. The
 * factor has 30 - bits of the gain. Beside the rounding of x, the error is at most
 * 127 2^(bits - 30) steps by that, gain 2^(bits - 30) by rounding the bias, and 2^-10 by the
 * product in it: together below 1/64 with up to 16 bits, when 1 is worth up to 2^6 steps. Where 1
 * is worth 2^(29 - bits) steps and more, there is no more to tell than the side of the offset. */
static q8_line line_of(const tinc_header *h, tinc_bits gain, float offset, int32_t bits) {
    const int32_t step = tinc_bits_exponent(tinc_float_bits(h->input_step));
    const int32_t wanted = 29 - bits - tinc_bits_exponent(gain);
    const int32_t kept = wanted < MOST_SHIFT ? wanted : MOST_SHIFT;
    const int32_t shift = kept > 1 ? kept : 1; /* less: 1 is worth more steps than there are */
    const uint32_t factor = tinc_bits_fixed(gain, kept);
    const tinc_bits product =
        tinc_bits_multiply(tinc_magnitude_bits(offset), tinc_bits_of(factor, 0));
    const uint32_t bias = tinc_bits_fixed(product, 0), half = 1u << (shift - 1);
    const uint32_t scale_sign = tinc_float_bits(h->input_scale) >> 31;
    const uint32_t offset_sign = tinc_float_bits(offset) >> 31;
    return (q8_line){scale_sign ? 0u - factor : factor,
                     (scale_sign == offset_sign ? 0u - bias : bias) + half, shift,
                     tinc_fixed(h->input_low, -step, MOST_INT8),
                     tinc_fixed(h->input_high, -step, MOST_INT8)};
}

static inline int32_t cut(int32_t x, int32_t low, int32_t high) {
    return x > low ? (x < high ? x : high) : low;
}

/* The bits of the largest difference between the offset and an integer of a type. */
static int32_t bits_of_type(float offset, int typecode) {
    const int32_t values = 1 << 8u * element_bytes(typecode);
    const int32_t low = typecode == 'b' || typecode == 'h' ? -values / 2 : 0;
    const int32_t centre = tinc_fixed(offset, 0, MOST_OFFSET);
    const int32_t below = centre - low, above = low + values - 1 - centre;
    return (int32_t)tinc_bit_length((uint32_t)(below > above ? below : above));
}

#define ON_LINE(raw)                                                                               \
    (int8_t)cut((int32_t)((uint32_t)(raw) * line.factor + line.bias) >> line.shift, line.low,      \
                line.high)

static int q8_normalise_floats(tinc_net *net, const float *raw, tinc_bits gain, int8_t *x) {
    const tinc_header *h = net->header;
    const int32_t exponent = tinc_bits_exponent(gain), point = exponent + 9;
    const tinc_bits fixed_gain = gain - ((uint32_t)point << 23);
    const q8_line line = line_of(h, fixed_gain, 0.0f, MOST_FLOAT_BITS);
    const int32_t most = (1 << MOST_FLOAT_BITS) - 1;
    const int32_t offset = tinc_fixed(h->input_offset, point, 1u << 30);
    for (uint32_t i = 0; i < net->inputs; i++) {
        if (!tinc_is_finite(raw[i])) {
            return tinc_fail(net, TINC_E_SAMPLE_VALUE, i, 0, 0);
        }
        const int32_t difference = tinc_fixed(raw[i], point, (1u << 30) - 1u) - offset;
        x[i] = ON_LINE(cut(difference, -most, most));
    }
    return TINC_OK;
}

static int q8_normalise(tinc_net *net, const void *raw, size_t n, int typecode, int8_t *x) {
    const tinc_header *h = net->header;
    const tinc_bits gain =
        tinc_bits_divide(tinc_magnitude_bits(h->input_scale), tinc_float_bits(h->input_step));
    if (typecode == 'f') {
        return q8_normalise_floats(net, raw, gain, x);
    }
    q8_line line = line_of(h, gain, h->input_offset, bits_of_type(h->input_offset, typecode));
    /* A signed integer with its sign flipped is that much more than it was, and not below 0. */
    const uint32_t sign = typecode == 'b' ? 1u << 7 : typecode == 'h' ? 1u << 15 : 0;
    line.bias -= sign * line.factor;
    if (element_bytes(typecode) == 1) {
        const uint8_t *bytes = raw;
        for (size_t i = 0; i < n; i++) {
            x[i] = ON_LINE(bytes[i] ^ sign);
        }
    } else {
        const uint16_t *halves = raw;
        for (size_t i = 0; i < n; i++) {
            x[i] = ON_LINE(halves[i] ^ sign);
        }
    }
    return TINC_OK;
}

int tinc_normalise(tinc_net *net, const void *raw, size_t n, int typecode, void *x) {
    const uint32_t size = element_bytes(typecode);
    if (size == 0) {
        return tinc_fail(net, TINC_E_SAMPLE_TYPE, (uint32_t)typecode, 0, 0);
    }
    if (n != net->inputs) {
        return tinc_fail(net, TINC_E_SAMPLE_SIZE, 0, (uint32_t)n, net->inputs);
    }
    if (((uintptr_t)raw & (size - 1u)) != 0) {
        return tinc_fail(net, TINC_E_ALIGNMENT, TINC_SECTIONS, 0, 0);
    }
    return FORMAT_CALL(net, normalise(net, raw, n, typecode, x));
}
