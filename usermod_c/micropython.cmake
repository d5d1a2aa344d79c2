# TinyInc as a user C module of cmake ports: -DUSER_C_MODULES=<this file>
file(GLOB TINYINC_CORE CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/core/*.c)

add_library(usermod_tinyinc INTERFACE)
target_sources(usermod_tinyinc INTERFACE
    ${CMAKE_CURRENT_LIST_DIR}/binding/modtinyinc.c
    ${TINYINC_CORE}
)
target_include_directories(usermod_tinyinc INTERFACE ${CMAKE_CURRENT_LIST_DIR}/core)
target_link_libraries(usermod INTERFACE usermod_tinyinc)

set_source_files_properties(${TINYINC_CORE} PROPERTIES COMPILE_OPTIONS "-O3;-ffp-contract=off")
