# What the boards with a floating-point unit share with each other and with the port's MPS2_AN385.
QEMU_ARCH = arm

CFLAGS += -mthumb -mfloat-abi=hard -DQEMU_SOC_MPS2
LDFLAGS += -Wl,--wrap=uart_init

LDSCRIPT = mcu/arm/mps2.ld

vpath fpu.c $(dir $(lastword $(MAKEFILE_LIST)))
SRC_BOARD_O = shared/runtime/gchelper_native.o shared/runtime/gchelper_thumb2.o fpu.o
