include(${MICROPY_BOARD_DIR}/../rp2.cmake)
