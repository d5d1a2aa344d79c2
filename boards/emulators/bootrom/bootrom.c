// A boot ROM for the emulated RP2040: what MicroPython's firmware needs of the chip's own, written
// anew. It starts the firmware in flash and lends it functions, which tables.S lists.
//
// Flash is plain memory in the emulator: erasing and programming take no more time than the
// copying. Numbers below the normal ones count as zero, as they do in the chip's ROM.
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FLASH ((uint8_t *)0x10000000)
#define BOOT_STAGE ((uint32_t *)0x20041f00) // where the second stage of booting runs, in RAM
#define BOOT_WORDS 63                       // and then its CRC
#define CRC_POLYNOMIAL 0x04c11db7u

// Stops the emulation, with a message.
void rom_missing(void) {
    __asm volatile("bkpt 0xff");
}

void rom_nothing(void) {
}

// ---- memory and bits ----

void *rom_memset(void *to, int value, size_t count) {
    uint8_t *byte = to;
    uint32_t word = (uint8_t)value * 0x01010101u;
    for (; count && (uintptr_t)byte & 3; count--)
        *byte++ = (uint8_t)value;
    for (; count >= 16; count -= 16, byte += 16) {
        uint32_t *words = (uint32_t *)byte;
        words[0] = words[1] = words[2] = words[3] = word;
    }
    for (; count; count--)
        *byte++ = (uint8_t)value;
    return to;
}

void *rom_memcpy(void *to, const void *from, size_t count) {
    uint8_t *target = to;
    const uint8_t *source = from;
    if ((((uintptr_t)target ^ (uintptr_t)source) & 3) == 0) {
        for (; count && (uintptr_t)target & 3; count--)
            *target++ = *source++;
        for (; count >= 16; count -= 16, target += 16, source += 16) {
            uint32_t *out = (uint32_t *)target;
            const uint32_t *in = (const uint32_t *)source;
            uint32_t a = in[0], b = in[1], c = in[2], d = in[3];
            out[0] = a, out[1] = b, out[2] = c, out[3] = d;
        }
    }
    for (; count; count--)
        *target++ = *source++;
    return to;
}

uint32_t rom_popcount(uint32_t value) {
    value -= value >> 1 & 0x55555555;
    value = (value & 0x33333333) + (value >> 2 & 0x33333333);
    return ((value + (value >> 4)) & 0x0f0f0f0f) * 0x01010101u >> 24;
}

uint32_t rom_reverse(uint32_t value) {
    value = (value >> 1 & 0x55555555) | (value & 0x55555555) << 1;
    value = (value >> 2 & 0x33333333) | (value & 0x33333333) << 2;
    value = (value >> 4 & 0x0f0f0f0f) | (value & 0x0f0f0f0f) << 4;
    return __builtin_bswap32(value);
}

uint32_t rom_clz(uint32_t value) {
    uint32_t zeros = value ? 0 : 1;
    for (uint32_t step = 16; step; step >>= 1) {
        if (value >> (32 - step) == 0) {
            value <<= step;
            zeros += step;
        }
    }
    return zeros;
}

uint32_t rom_ctz(uint32_t value) {
    return value ? 31 - rom_clz(value & -value) : 32;
}

// The address of a code's function or data, in a table that ends with code 0.
uintptr_t rom_lookup(const uint16_t *table, uint32_t code) {
    for (; table[0]; table += 2) {
        if (table[0] == code)
            return table[1];
    }
    return 0;
}

// ---- flash ----

void rom_flash_erase(uint32_t at, size_t count, uint32_t block, uint8_t command) {
    (void)block;
    (void)command;
    rom_memset(FLASH + at, 0xff, count);
}

// Programming only clears bits, as it does in flash.
void rom_flash_program(uint32_t at, const uint8_t *data, size_t count) {
    for (size_t i = 0; i < count; i++)
        FLASH[at + i] &= data[i];
}

// ---- start ----

static bool is_boot_stage(const uint32_t *words) {
    uint32_t crc = 0xffffffff;
    for (int i = 0; i < 4 * BOOT_WORDS; i++) {
        crc ^= (uint32_t)((const uint8_t *)words)[i] << 24;
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1u << 31 ? crc << 1 ^ CRC_POLYNOMIAL : crc << 1;
    }
    return crc == words[BOOT_WORDS];
}

// The second stage, the firmware's own first 256 bytes, sets flash up and enters the firmware. Its
// caller would be in LR.
void boot(void) {
    rom_memcpy(BOOT_STAGE, FLASH, 4 * (BOOT_WORDS + 1));
    if (!is_boot_stage(BOOT_STAGE))
        rom_missing();
    __asm volatile("mov lr, %0\n bx %1" ::"l"(0), "l"((uintptr_t)BOOT_STAGE + 1));
}

// ---- floating point: the compiler's, with the ROM's way to round and to see small numbers ----

typedef union {
    float value;
    uint32_t bits;
} Single;

typedef union {
    double value;
    uint64_t bits;
} Double;

static float flushed(float x) {
    Single s = {x};
    if (!(s.bits & 0x7f800000u))
        s.bits &= 1u << 31;
    return s.value;
}

static double flushed_double(double x) {
    Double d = {x};
    if (!(d.bits & 0x7ffull << 52))
        d.bits &= 1ull << 63;
    return d.value;
}

// Shift left, or right, towards minus infinity.
static uint64_t shifted(uint64_t mantissa, int by, bool negative) {
    if (by >= 0)
        return mantissa << by;
    if (by <= -64)
        return negative;
    uint64_t whole = mantissa >> -by;
    return whole + (negative && whole << -by != mantissa);
}

// An integer from sign, mantissa and exponent, rounded towards minus infinity and kept in range.
static int64_t integer(bool negative, uint64_t mantissa, int exponent, int bits) {
    uint64_t most = 1ull << (bits - 1);
    bool beyond = mantissa && exponent + 63 - __builtin_clzll(mantissa) >= bits - 1;
    uint64_t size = beyond ? most : shifted(mantissa, exponent, negative);
    if (negative)
        return (int64_t)-size;
    return (int64_t)(size < most ? size : most - 1);
}

static uint64_t natural(bool negative, uint64_t mantissa, int exponent, int bits) {
    if (negative || !mantissa)
        return 0;
    if (exponent + 63 - __builtin_clzll(mantissa) >= bits)
        return ~0ull >> (64 - bits);
    return shifted(mantissa, exponent, false);
}

#define PARTS(x)                                                                                   \
    x >> 31, (x & 0x7f800000) ? (x & 0x7fffff) | 0x800000 : 0, (int)(x >> 23 & 255) - 150
#define DOUBLE_PARTS(x)                                                                            \
    x >> 63, (x >> 52 & 0x7ff) ? (x & ((1ull << 52) - 1)) | 1ull << 52 : 0,                        \
        (int)(x >> 52 & 0x7ff) - 1075

// A row is a function; from a number to an integer it takes the number's bits.
#define ARITHMETIC(name, type, flush, op)                                                          \
    type name(type x, type y) {                                                                    \
        return flush(flush(x) op flush(y));                                                        \
    }
#define CONVERSION(name, from, to, value)                                                          \
    to name(from x) {                                                                              \
        return (to)(value);                                                                        \
    }

ARITHMETIC(rom_fadd, float, flushed, +)
ARITHMETIC(rom_fsub, float, flushed, -)
ARITHMETIC(rom_fmul, float, flushed, *)
ARITHMETIC(rom_fdiv, float, flushed, /)
CONVERSION(rom_float2int, uint32_t, int32_t, integer(PARTS(x), 32))
CONVERSION(rom_float2uint, uint32_t, uint32_t, natural(PARTS(x), 32))
CONVERSION(rom_float2int64, uint32_t, int64_t, integer(PARTS(x), 64))
CONVERSION(rom_float2uint64, uint32_t, uint64_t, natural(PARTS(x), 64))
CONVERSION(rom_int2float, int32_t, float, x)
CONVERSION(rom_uint2float, uint32_t, float, x)
CONVERSION(rom_int642float, int64_t, float, x)
CONVERSION(rom_uint642float, uint64_t, float, x)
CONVERSION(rom_float2double, float, double, flushed(x))

ARITHMETIC(rom_dadd, double, flushed_double, +)
ARITHMETIC(rom_dsub, double, flushed_double, -)
ARITHMETIC(rom_dmul, double, flushed_double, *)
ARITHMETIC(rom_ddiv, double, flushed_double, /)
CONVERSION(rom_double2int, uint64_t, int32_t, integer(DOUBLE_PARTS(x), 32))
CONVERSION(rom_double2uint, uint64_t, uint32_t, natural(DOUBLE_PARTS(x), 32))
CONVERSION(rom_double2int64, uint64_t, int64_t, integer(DOUBLE_PARTS(x), 64))
CONVERSION(rom_double2uint64, uint64_t, uint64_t, natural(DOUBLE_PARTS(x), 64))
CONVERSION(rom_int2double, int32_t, double, x)
CONVERSION(rom_uint2double, uint32_t, double, x)
CONVERSION(rom_int642double, int64_t, double, x)
CONVERSION(rom_uint642double, uint64_t, double, x)
CONVERSION(rom_double2float, double, float, flushed((float)flushed_double(x)))
