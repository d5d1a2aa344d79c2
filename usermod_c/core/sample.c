/* Samples: from what a sensor gave to what the network sees. */
#include "internal.h"

#define CONVERT(type)                                                                              \
    for (size_t i = 0; i < n; i++) {                                                               \
        x[i] = (float)((const type *)raw)[i];                                                      \
    }

static uint32_t element_bytes(int typecode) {
    switch (typecode) {
    case 'b':
    case 'B':
        return 1;
    case 'h':
    case 'H':
        return 2;
    case 'f':
        return 4;
    default:
        return 0;
    }
}

#define LARGEST_FLOAT 3.40282347e38f

int tinc_check_sample(tinc_net *net, const float *x, float most) {
    uint32_t i = 0;
    if (tinc_largest(x, net->inputs) <= most) { /* not so when a value is NaN */
        return TINC_OK;
    }
    while (tinc_largest(x + i, 1) <= most) {
        i++;
    }
    return tinc_fail(net, TINC_E_SAMPLE_VALUE, i, 0, 0);
}

int tinc_normalise(tinc_net *net, const void *raw, size_t n, int typecode, float *x) {
    const uint32_t size = element_bytes(typecode);
    if (size == 0) {
        return tinc_fail(net, TINC_E_SAMPLE_TYPE, (uint32_t)typecode, 0, 0);
    }
    if (n != net->inputs) {
        return tinc_fail(net, TINC_E_SAMPLE_SIZE, 0, (uint32_t)n, net->inputs);
    }
    if ((uintptr_t)raw % size != 0) {
        return tinc_fail(net, TINC_E_ALIGNMENT, TINC_SECTIONS, 0, 0);
    }
    switch (typecode) {
    case 'b':
        CONVERT(int8_t)
        break;
    case 'B':
        CONVERT(uint8_t)
        break;
    case 'h':
        CONVERT(int16_t)
        break;
    case 'H':
        CONVERT(uint16_t)
        break;
    default:
        CONVERT(float)
        if (tinc_check_sample(net, x, LARGEST_FLOAT)) {
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
