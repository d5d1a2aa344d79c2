/* Faults: what was wrong, where, and how to say it. */
#include "internal.h"

int tinc_fail(tinc_net *net, int code, uint32_t where, uint32_t found, uint32_t expected) {
    net->fault = (tinc_fault){code, where, found, expected};
    return code;
}

/* A text per tinc_error, in order from -1, each ended by a NUL: one array without pointers, which a
 * native module could not relocate. W, F and E in braces stand for where, found and expected,
 * C and T for where and expected as characters. */
const char tinc_texts[] =
    "buffer {W} is not aligned: its address must be a multiple of 8 (a sample's: of its values)\0"
    "section {W} is cut short: {F} bytes, expected {E}\0"
    "not a TinyInc image: it does not start with TINC\0"
    "image of version {F}, this TinyInc reads version {E}\0"
    "image is damaged: the structure's CRC does not match\0"
    "image is damaged: the CRC of section {W} does not match\0"
    "image header: byte {W} is out of range (found {F})\0"
    "section table: entry {W} is not in order or out of bounds (found {F}, limit {E})\0"
    "section table: entry {W} is required but of unknown kind {F}, known up to {E}\0"
    "section {W} has {F} bytes, its table says {E}\0"
    "layer {W}: kind {F} is unknown, expected {E} (dense)\0"
    "layer {W}: byte {F} is out of range (found {E})\0"
    "layer {W}: takes {F} inputs, the layer before gives {E}\0"
    "layer {W}: tensor at {F} lies outside its section of {E} bytes\0"
    "image header: byte {W} asks for format {F}, this TinyInc has {E} (float32, softmax)\0"
    "memory: byte {W} is out of range (found {F}, limit {E})\0"
    "settings: byte {W} is out of range (found {F})\0"
    "layer {W}: value {F} is NaN or infinite\0"
    "scratch has {F} bytes, expected {E}\0"
    "the network is busy with another call\0"
    "sample has {F} values, expected {E}\0"
    "sample type '{C}' is unknown, expected b, B, h, H or f\0"
    "sample[{W}] is NaN, infinite or beyond 1e30\0"
    "class {F} does not exist, the network has {E}\0"
    "layer {F} cannot be resized or does not exist, the network has {E}\0"
    "layer {W}: unit {F} cannot be removed, of {E} at least one stays\0"
    "layer {W}: {F} more units asked for, room for {E}\0"
    "memory slot {F} does not exist, there are {E}\0"
    "argument {W} is too short or out of range: {F}, expected {E}\0"
    "diverged: layer {W} gives NaN or values beyond 1e30, the learning rate may be too high\0"
    "argument {W} is of the wrong type, expected a writable array of '{T}'\0";

static char *put_number(char *to, uint32_t number) {
    uint32_t power = 1;
    while (number / power >= 10u) {
        power *= 10u;
    }
    for (; power > 0; power /= 10u) {
        *to++ = (char)('0' + number / power % 10u);
    }
    return to;
}

size_t tinc_describe(const tinc_fault *fault, char text[TINC_TEXT_BYTES]) {
    const char *from = tinc_texts, *const end = tinc_texts + sizeof tinc_texts - 1;
    for (int32_t code = -1; code > fault->code && from < end; code--) {
        while (*from++ != '\0') {
        }
    }
    char *to = text, *const room = text + TINC_TEXT_BYTES - 11; /* ten digits and the NUL */
    for (; from < end && *from != '\0' && to < room; from++) {
        if (*from != '{') {
            *to++ = *from;
            continue;
        }
        switch (from[1]) {
        case 'C':
            *to++ = (char)fault->where;
            break;
        case 'T':
            *to++ = (char)fault->expected;
            break;
        case 'W':
            to = put_number(to, fault->where);
            break;
        case 'F':
            to = put_number(to, fault->found);
            break;
        default:
            to = put_number(to, fault->expected);
        }
        from += 2;
    }
    *to = '\0';
    return (size_t)(to - text);
}
