include(${PORT_BOARD_DIR}/mpconfigvariant_FLASH_4M.cmake)
