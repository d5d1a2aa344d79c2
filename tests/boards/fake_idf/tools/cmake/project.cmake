# Stands in for ESP-IDF: what MicroPython's port asks of it in CMake, as far as to configure. Sources
# and options are there as in a build; of ESP-IDF's own components, nothing is.
if(NOT IDF_TARGET)
    set(IDF_TARGET esp32)
endif()
if(IDF_TARGET STREQUAL "esp32c3")
    set(CONFIG_IDF_TARGET_ARCH_RISCV y)
else()
    set(CONFIG_IDF_TARGET_ARCH_XTENSA y)
endif()

function(idf_component_register)
    cmake_parse_arguments(PARSE_ARGV 0 component "" "" "SRCS;INCLUDE_DIRS;LDFRAGMENTS;REQUIRES")
    add_library(main OBJECT ${component_SRCS})
    target_include_directories(main PUBLIC ${component_INCLUDE_DIRS})
    set(COMPONENT_TARGET main PARENT_SCOPE)
endfunction()

# What is asked for, beside CMake's own compile_commands.json.
function(write_settings)
    file(WRITE ${CMAKE_BINARY_DIR}/settings.txt
        "${IDF_TARGET}\n${MICROPY_FROZEN_MANIFEST}\n${SDKCONFIG_DEFAULTS}\n")
endfunction()

macro(project name)
    find_package(Python3 REQUIRED COMPONENTS Interpreter)
    _project(${name} C ASM)
    write_settings()
    add_subdirectory(main)
endmacro()
