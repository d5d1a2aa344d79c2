# Cortex-M4 with single precision, as the STM32F4 and RP2350 have it: armv7emsp.
QEMU_MACHINE = mps2-an386
CFLAGS += -mcpu=cortex-m4 -mfpu=fpv4-sp-d16 -DMICROPY_HW_MCU_NAME='"Cortex-M4F"'
include $(BOARD_DIR)/../mps2_fpu.mk
