/* What the bench needs of an emulated machine: a clock, a line of text, an end. */
#ifndef MACHINE_H
#define MACHINE_H

#include <stdint.h>

/* ARM semihosting: a breakpoint by which a program asks its debugger, here the emulator. */
enum { SEMIHOSTING_WRITE0 = 0x04, SEMIHOSTING_EXIT = 0x18, SEMIHOSTING_ELAPSED = 0x30 };

static inline uint32_t semihosting(uint32_t operation, const void *argument) {
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

/* Ticks since some moment, modulo 2^32. What a tick is, the host knows. */
static inline uint32_t ticks(void) {
#ifdef TIMER /* base of a CMSDK timer, which counts down */
    return 0u - ((volatile uint32_t *)TIMER)[1];
#else
    uint64_t elapsed;
    semihosting(SEMIHOSTING_ELAPSED, &elapsed);
    return (uint32_t)elapsed;
#endif
}

static inline void start_clock(void) {
#ifdef TIMER
    volatile uint32_t *timer = (volatile uint32_t *)TIMER;
    timer[2] = 0xFFFFFFFFu; /* reload */
    timer[1] = 0xFFFFFFFFu; /* value */
    timer[0] = 1u;          /* enable, without an interrupt */
#endif
}

static inline void write_text(const char *text) {
    semihosting(SEMIHOSTING_WRITE0, text);
}

/* End the emulator, with exit code 0 or 1. */
static inline void stop(int failed) {
    const uintptr_t application_exit = 0x20026, internal_error = 0x20024;
    semihosting(SEMIHOSTING_EXIT, (const void *)(failed ? internal_error : application_exit));
    for (;;) {
    }
}

#endif
