# TinyInc as a user C module of make ports: make USER_C_MODULES=<folder that holds usermod_c>
# TINYINC_CFLAGS adds flags for the core alone, for example -march=native on a desktop.
TINYINC_DIR := $(USERMOD_DIR)

SRC_USERMOD_C += $(TINYINC_DIR)/binding/modtinyinc.c
SRC_USERMOD_LIB_C += $(sort $(wildcard $(TINYINC_DIR)/core/*.c))

# No fused multiply-add: a desktop, a board and the tests are to round alike.
$(BUILD)/usermod_c/core/%.o: CFLAGS += -O3 -ffp-contract=off $(TINYINC_CFLAGS)
