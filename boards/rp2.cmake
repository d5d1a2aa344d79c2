# What our boards of port rp2 have in common: MicroPython's own definition of the board, and a firmware
# that is linked as C.
set(PORT_BOARD_DIR ${MICROPY_PORT_DIR}/boards/${MICROPY_BOARD})
include(${PORT_BOARD_DIR}/mpconfigboard.cmake)
include(${PORT_BOARD_DIR}/mpconfigvariant.cmake OPTIONAL)
set(GEN_PINS_BOARD_CSV ${PORT_BOARD_DIR}/pins.csv)
set(GEN_PINS_CSV_ARG --board-csv ${GEN_PINS_BOARD_CSV})
if(USER_C_MODULES)
    list(APPEND MICROPY_DEF_BOARD TINYINC_IN_FIRMWARE)
endif()

# The only C++ of pico-sdk defines `new` and `delete`, which nothing here calls. Without it no C++
# library is needed (1.5 GB on Debian).
set_source_files_properties(
    ${MICROPY_DIR}/lib/pico-sdk/src/rp2_common/pico_cxx_options/new_delete.cpp
    PROPERTIES HEADER_FILE_ONLY ON
)
cmake_language(DEFER CALL set_target_properties ${MICROPY_TARGET} PROPERTIES LINKER_LANGUAGE C)
cmake_language(DEFER CALL target_link_libraries ${MICROPY_TARGET} m)
