// MicroPython's own definition of the board, under another name.
#include "boards/RPI_PICO/mpconfigboard.h"
#ifdef TINYINC_IN_FIRMWARE
#undef MICROPY_HW_BOARD_NAME
#define MICROPY_HW_BOARD_NAME "Raspberry Pi Pico with TinyInc"
#endif
