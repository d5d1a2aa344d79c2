/* From reset to main() on a Cortex-M without an operating system. */
#include "machine.h"

extern uint32_t bss_start[], bss_end[], stack_top[];

int main(void);

static void reset(void) {
#ifdef __ARM_FP
    *(volatile uint32_t *)0xE000ED88u |= 0xFu << 20; /* CPACR: let the program use the FPU */
    __asm__ volatile("dsb\n isb");
#endif
    for (uint32_t *word = bss_start; word < bss_end; word++) {
        *word = 0;
    }
    stop(main());
}

static void fault(void) {
    write_text("the processor faulted\n");
    stop(1);
}

/* The vector table: stack, reset, NMI, hard fault and the faults that an ARMv6-M has not. */
__attribute__((section(".vectors"), used)) const uintptr_t vectors[16] = {
    (uintptr_t)stack_top, (uintptr_t)reset, (uintptr_t)fault, (uintptr_t)fault,
    (uintptr_t)fault,     (uintptr_t)fault, (uintptr_t)fault,
};
