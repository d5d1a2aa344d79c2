/* Faults: what was wrong, where, and how to say it. */
#include "fixed.h"

int tinc_fail(tinc_net *net, int code, uint32_t where, uint32_t found, uint32_t expected) {
    net->fault = (tinc_fault){code, where, found, expected};
    return code;
}

/* clang-format off */

/* What stands in a text for where, found and expected, as a number or as a character. */
#define W "\1"
#define F "\2"
#define E "\3"
#define AS_CHARACTER 4u
#define W_CHARACTER "\5"
#define E_CHARACTER "\7"

/* Phrases that texts share: the first is entry PHRASES of the texts. */
#define FIRST_PHRASE 8u
#define BYTE "\10"
#define LAYER "\11"
#define DAMAGED "\12"
#define EXPECTED "\13"
#define MISSING "\14"
#define BAD_VALUE "\15"
#define ENTRY "\16"
#define PHRASES 34u

/* A text per tinc_error, in order from -1, an empty one for any other, and the phrases, each ended
 * by a NUL: one array without pointers, which a native module could not relocate. */
const char tinc_texts[] =
    "buffer " W " is not aligned to 8 bytes (a sample: to its type)\0"
    "section " W " is cut short: " F " bytes" EXPECTED E "\0"
    "not a TinyInc image: no TINC at its start\0"
    "image of version " F EXPECTED E "\0"
    DAMAGED "\0"
    DAMAGED "\0"
    "image header" BYTE "\0"
    ENTRY "out of order or bounds (found " F ")\0"
    ENTRY "required, but of unknown kind " F "\0"
    "section " W " has " F " bytes" EXPECTED E "\0"
    LAYER "kind " F " is unknown or has no place here\0"
    "layer " E BYTE "\0"
    LAYER "takes " F " inputs" EXPECTED E "\0"
    LAYER "tensor at " F " lies outside its section\0"
    "format " F " of the image: this TinyInc does not have it\0"
    "memory" BYTE "\0"
    "settings" BYTE "\0"
    LAYER "value " F " of a tensor" BAD_VALUE "\0"
    "scratch has " F " bytes" EXPECTED E "\0"
    "the network is busy with another call\0"
    "sample has " F " values" EXPECTED E "\0"
    "sample type '" W_CHARACTER "'" EXPECTED "b, B, h, H or f\0"
    "sample[" W "]" BAD_VALUE "\0"
    "class " F MISSING "\0"
    "layer " F " cannot be resized or" MISSING "\0"
    LAYER "unit " F " is the only one or" MISSING "\0"
    LAYER F " more units asked for, room for " E "\0"
    "memory slot " F MISSING "\0"
    "argument " W " is too short or out of range: " F EXPECTED E "\0"
#if TINYINC_F32 /* integers stay within bounds */
    "diverged: layer " W " gives NaN or values beyond 1e30, learning rate too high?"
#endif
    "\0"
    "argument " W " is of the wrong type" EXPECTED "a writable array of '" E_CHARACTER "'\0"
    LAYER "cannot run in strips: dense, an addition or trained\0"
    LAYER "of the front end, but trained\0"
    "\0"
    ": byte " W " is out of range (found " F ")\0"
    "layer " W ": \0"
    "image is damaged: the CRC of section " W " does not match\0"
    ", expected \0"
    " does not exist, there are " E "\0"
    " is NaN, infinite or out of range\0"
    "section table: entry " W " is ";

/* clang-format on */

static const char *entry(uint32_t number) {
    const char *text = tinc_texts;
    while (number > 0) {
        number -= *text++ == '\0';
    }
    return text;
}

static char *put_number(char *to, uint32_t number) {
    char digits[10];
    uint32_t n = 0;
    do {
        uint32_t digit;
        number = tinc_divide(0, number, 10, &digit);
        digits[n++] = (char)('0' + digit);
    } while (number > 0);
    while (n > 0) {
        *to++ = digits[--n];
    }
    return to;
}

size_t tinc_describe(const tinc_fault *fault, char text[TINC_TEXT_BYTES]) {
    const uint32_t values[] = {fault->where, fault->found, fault->expected};
    const uint32_t number = ~(uint32_t)fault->code; /* from 0 */
    const char *from = entry(number < PHRASES ? number : PHRASES - 1u), *behind_phrase = NULL;
    char *to = text, *const last = text + TINC_TEXT_BYTES - 10; /* a number may have ten digits */
    while (to < last) {
        const uint32_t c = (uint8_t)*from++;
        if (c == '\0') {
            if (behind_phrase == NULL) {
                break;
            }
            from = behind_phrase;
            behind_phrase = NULL;
        } else if (c >= ' ') {
            *to++ = (char)c;
        } else if (c >= FIRST_PHRASE) {
            behind_phrase = from;
            from = entry(PHRASES + c - FIRST_PHRASE);
        } else if (c > AS_CHARACTER) {
            *to++ = (char)values[c - AS_CHARACTER - 1u];
        } else {
            to = put_number(to, values[c - 1u]);
        }
    }
    *to = '\0';
    return (size_t)(to - text);
}
