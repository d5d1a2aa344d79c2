# Cortex-M7 with double precision, as the STM32F7 and H7 have it: armv7emdp.
QEMU_MACHINE = mps2-an500
CFLAGS += -mcpu=cortex-m7 -mfpu=fpv5-d16 -DMICROPY_HW_MCU_NAME='"Cortex-M7"'
include $(BOARD_DIR)/../mps2_fpu.mk
