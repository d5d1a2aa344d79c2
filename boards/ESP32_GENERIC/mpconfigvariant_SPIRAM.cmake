include(${PORT_BOARD_DIR}/mpconfigvariant_SPIRAM.cmake)
