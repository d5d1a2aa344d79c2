// The boot ROM's first bytes and its tables, where firmware looks for them: RP2040 datasheet,
// section 2.8. Addresses in the ROM have 16 bits; a function's has bit 0 set, for Thumb.
    .syntax unified
    .cpu cortex-m0plus
    .thumb

    .macro function code, name
    .ascii "\code"
    .hword \name + 1
    .endm

    .macro data code, name
    .ascii "\code"
    .hword \name
    .endm

    .section .header, "a"
    .word 0x20041f00                // stack, below the place of the second boot stage
    .word boot + 1
    .word rom_missing + 1           // NMI
    .word rom_missing + 1           // hard fault
    .ascii "Mu\001\003"             // magic; version 3, that of chip RP2040-B2
    .hword functions
    .hword tables
    .hword rom_lookup + 1

functions:
    function "P3", rom_popcount
    function "R3", rom_reverse
    function "L3", rom_clz
    function "T3", rom_ctz
    function "MS", rom_memset
    function "S4", rom_memset
    function "MC", rom_memcpy
    function "C4", rom_memcpy
    function "IF", rom_nothing      // connect_internal_flash
    function "EX", rom_nothing      // flash_exit_xip
    function "FC", rom_nothing      // flash_flush_cache
    function "CX", rom_nothing      // flash_enter_cmd_xip
    function "RE", rom_flash_erase
    function "RP", rom_flash_program
    function "UB", rom_missing      // reset_usb_boot
    .hword 0

tables:
    data "SF", floats
    data "SD", doubles
    .hword 0

// In the order of the datasheet. What pico-sdk never calls, or MicroPython replaces, is missing.
    .section .rodata, "a"
    .balign 4
    .byte 0, 0, 32, 0               // entries of a table
floats:
    .word rom_fadd, rom_fsub, rom_fmul, rom_fdiv
    .word rom_missing, rom_missing  // comparisons
    .word rom_missing               // square root
    .word rom_float2int, rom_missing, rom_float2uint, rom_missing
    .word rom_int2float, rom_missing, rom_uint2float, rom_missing
    .word rom_missing, rom_missing, rom_missing, rom_missing // cos, sin, tan, sincos
    .word rom_missing, rom_missing  // exp, ln
    .word rom_missing, rom_missing  // comparison, atan2
    .word rom_int642float, rom_missing, rom_uint642float, rom_missing
    .word rom_float2int64, rom_missing, rom_float2uint64, rom_missing
    .word rom_float2double
doubles:
    .word rom_dadd, rom_dsub, rom_dmul, rom_ddiv
    .word rom_missing, rom_missing
    .word rom_missing
    .word rom_double2int, rom_missing, rom_double2uint, rom_missing
    .word rom_int2double, rom_missing, rom_uint2double, rom_missing
    .word rom_missing, rom_missing, rom_missing, rom_missing
    .word rom_missing, rom_missing
    .word rom_missing, rom_missing
    .word rom_int642double, rom_missing, rom_uint642double, rom_missing
    .word rom_double2int64, rom_missing, rom_double2uint64, rom_missing
    .word rom_double2float
