/* Switches the floating-point unit on, before anything uses it: uart_init() is the first that the
 * qemu port's start calls in another file, and the linker is told to call this in its place. */
#include <stdint.h>

#define CPACR (*(volatile uint32_t *)0xE000ED88) /* coprocessor access control */
#define FPU_FULL_ACCESS (0xFu << 20)

void __real_uart_init(void);
void __wrap_uart_init(void);

void __wrap_uart_init(void) {
    CPACR |= FPU_FULL_ACCESS;
    __asm volatile("dsb\n isb");
    __real_uart_init();
}
