# Cortex-M33 with single precision. As firmware of the RP2350, the one such chip that MicroPython has
# a port for, it uses the FPU and passes floats in integer registers.
QEMU_ARCH = arm
QEMU_MACHINE = mps2-an505
CFLAGS += -mthumb -mcpu=cortex-m33 -mfpu=fpv5-sp-d16 -mfloat-abi=softfp \
    -DMICROPY_HW_MCU_NAME='"Cortex-M33"'
AFLAGS += -mcpu=cortex-m33
LDSCRIPT = $(BOARD_DIR)/an505.ld
vpath uart_an505.c $(BOARD_DIR)
SRC_BOARD_O = shared/runtime/gchelper_native.o shared/runtime/gchelper_thumb2.o uart_an505.o
