include(${PORT_BOARD_DIR}/mpconfigvariant_SPIRAM_OCT.cmake)
