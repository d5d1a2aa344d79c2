# What our boards of port esp32 have in common: MicroPython's own definition of the board. (The port
# includes this in its own folder, before it names its folders itself.)
set(PORT_BOARD_DIR ${CMAKE_CURRENT_SOURCE_DIR}/boards/${MICROPY_BOARD})
include(${PORT_BOARD_DIR}/mpconfigboard.cmake)
