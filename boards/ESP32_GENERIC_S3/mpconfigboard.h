// MicroPython's own definition of the board, under another name; a variant has a name of its own.
#ifndef MICROPY_HW_BOARD_NAME
#define MICROPY_HW_BOARD_NAME "Generic ESP32S3 module with TinyInc"
#endif
#include "boards/ESP32_GENERIC_S3/mpconfigboard.h"
