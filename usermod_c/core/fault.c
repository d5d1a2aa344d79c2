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
    "layer {W}: kind {F} is unknown or has no place here, expected {E} (dense)\0"
    "layer {W}: byte {F} is out of range (found {E})\0"
    "layer {W}: takes {F} inputs, the layer before gives {E}\0"
    "layer {W}: tensor at {F} lies outside its section of {E} bytes\0"
    "image header: byte {W} asks for format {F}, this TinyInc has up to {E}\0"
    "memory: byte {W} is out of range (found {F}, limit {E})\0"
    "settings: byte {W} is out of range (found {F})\0"
    "layer {W}: value {F} of a tensor is NaN, infinite or out of range\0"
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
    "argument {W} is of the wrong type, expected a writable array of '{T}'\0"
    "layer {W} cannot run in strips: it is dense, an addition or trained\0";

const uint32_t tinc_powers_of_ten[] = {1000000000, 100000000, 10000000, 1000000, 100000,
                                       10000,      1000,      100,      10,      1};

/* By subtraction: not every processor divides. */
static char *put_number(char *to, uint32_t number) {
    uint32_t i = 0;
    while (i < 9u && number < tinc_powers_of_ten[i]) {
        i++;
    }
    for (; i < 10u; i++) {
        char digit = '0';
        for (; number >= tinc_powers_of_ten[i]; number -= tinc_powers_of_ten[i]) {
            digit++;
        }
        *to++ = digit;
    }
    return to;
}

/* What stands for a letter in braces. */
static char *put_place(char *to, char letter, const tinc_fault *fault) {
    if (letter == 'C' || letter == 'T') {
        *to = (char)(letter == 'C' ? fault->where : fault->expected);
        return to + 1;
    }
    return put_number(to, letter == 'W'   ? fault->where
                          : letter == 'F' ? fault->found
                                          : fault->expected);
}

size_t tinc_describe(const tinc_fault *fault, char text[TINC_TEXT_BYTES]) {
    const char *from = tinc_texts, *const end = tinc_texts + sizeof tinc_texts - 1;
    for (int32_t code = -1; code > fault->code && from < end; code--) {
        while (*from++ != '\0') {
        }
    }
    char *to = text, *const last = text + TINC_TEXT_BYTES - 1; /* room for the NUL */
    for (; from < end && *from != '\0' && to < last; from++) {
        if (*from != '{') {
            *to++ = *from;
        } else if (last - to < 10) { /* a number may have ten digits */
            break;
        } else {
            to = put_place(to, from[1], fault);
            from += 2;
        }
    }
    *to = '\0';
    return (size_t)(to - text);
}
