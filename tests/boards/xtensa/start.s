/* From reset to main() on an emulated Xtensa with windowed registers, without an operating system.
 * It is linked like a native module, whose first instruction jumps to mpy_init. */

/* What the processor does when its registers run out: a function's lie in memory from then on, the
 * first four below its callee's stack pointer, the others below its caller's. LLVM's calls all take
 * eight. Whatever else happens slides down to the end. */
    .section .text.vectors, "ax", @progbits
    .balign 1024
    .global vectors
vectors:
    .rept 64
    nop.n
    .endr
    s32e a0, a9, -16 /* at 0x80: overflow */
    l32e a0, a1, -12
    s32e a1, a9, -12
    s32e a2, a9, -8
    s32e a3, a9, -4
    s32e a4, a0, -32
    s32e a5, a0, -28
    s32e a6, a0, -24
    s32e a7, a0, -20
    rfwo
    .balign 64
    l32e a0, a9, -16 /* at 0xC0: underflow */
    l32e a1, a9, -12
    l32e a2, a9, -8
    l32e a7, a1, -12
    l32e a3, a9, -4
    l32e a4, a7, -32
    l32e a5, a7, -28
    l32e a6, a7, -24
    l32e a7, a7, -20
    rfwu
    .balign 64
    .rept 256
    nop.n
    .endr
    j exception /* at 0x300 */
    .balign 2
    .rept 128
    nop.n
    .endr
failed:
    movi a2, 1 /* exit */
    rsr a3, exccause
    addi a3, a3, 64
    .byte 0x00, 0x51, 0x00 /* simcall */

/* An ESP32 has instructions for the high half of a product, MULUH and MULSH, the emulated processor
 * has not: they end here, and are done by hand. As does one that moves the stack pointer while the
 * caller's registers lie in memory below it (MOVSP): on an ESP32 the firmware does that. */
    .balign 4
    .literal_position
    .literal .Lsaved, saved
    .section .text.vectors
exception:
    wsr a0, excsave1
    rsr a0, epc1
    wsr a0, misc0
    rsr a0, ps
    wsr a0, misc1
    addi a0, a0, -16 /* not PS.EXCM: registers that belong to a caller go to memory */
    wsr a0, ps
    rsync
    or a15, a15, a15
    rsr a0, misc1
    wsr a0, ps
    rsync
    l32r a0, .Lsaved
    s32i a1, a0, 4
    s32i a2, a0, 8
    s32i a3, a0, 12
    s32i a4, a0, 16
    s32i a5, a0, 20
    s32i a6, a0, 24
    s32i a7, a0, 28
    s32i a8, a0, 32
    s32i a9, a0, 36
    s32i a10, a0, 40
    s32i a11, a0, 44
    s32i a12, a0, 48
    s32i a13, a0, 52
    s32i a14, a0, 56
    s32i a15, a0, 60
    rsr a1, excsave1
    s32i a1, a0, 0
    rsr a2, misc0
    l8ui a3, a2, 2
    l8ui a5, a2, 1
    rsr a4, exccause
    beqi a4, 5, move_stack
    bnez a4, failed /* not an unknown instruction */
    movi a4, 0xA2 /* MULUH */
    beq a3, a4, multiply
    movi a4, 0xB2 /* MULSH */
    beq a3, a4, multiply
    j failed
multiply:
    addi a4, a2, 3
    wsr a4, epc1
    l8ui a4, a2, 0 /* the factors into a4 and a6, the place of the result into a5 */
    extui a4, a4, 4, 4
    addx4 a4, a4, a0
    l32i a4, a4, 0
    extui a6, a5, 0, 4
    addx4 a6, a6, a0
    l32i a6, a6, 0
    extui a5, a5, 4, 4
    addx4 a5, a5, a0
    extui a7, a6, 0, 16
    extui a8, a4, 0, 16
    extui a9, a6, 16, 16
    extui a10, a4, 16, 16
    mull a11, a7, a8
    extui a11, a11, 16, 16
    mull a12, a9, a8
    add a11, a11, a12
    extui a12, a11, 16, 16
    extui a11, a11, 0, 16
    mull a13, a7, a10
    add a11, a11, a13
    extui a11, a11, 16, 16
    mull a13, a9, a10
    add a12, a12, a13
    add a12, a12, a11
    movi a13, 0xA2
    beq a3, a13, done
    bgez a6, first_positive /* with signs */
    sub a12, a12, a4
first_positive:
    bgez a4, done
    sub a12, a12, a6
    j done
move_stack:
    addi a4, a2, 3
    wsr a4, epc1
    l32i a4, a0, 4 /* where it points, and is to point */
    extui a5, a5, 0, 4
    addx4 a5, a5, a0
    l32i a12, a5, 0
    addi a4, a4, -16
    addi a6, a12, -16
    l32i a7, a4, 0
    l32i a8, a4, 4
    l32i a9, a4, 8
    l32i a10, a4, 12
    s32i a7, a6, 0
    s32i a8, a6, 4
    s32i a9, a6, 8
    s32i a10, a6, 12
    addi a5, a0, 4
done:
    s32i a12, a5, 0
    l32i a15, a0, 60
    l32i a14, a0, 56
    l32i a13, a0, 52
    l32i a12, a0, 48
    l32i a11, a0, 44
    l32i a10, a0, 40
    l32i a9, a0, 36
    l32i a8, a0, 32
    l32i a7, a0, 28
    l32i a6, a0, 24
    l32i a5, a0, 20
    l32i a4, a0, 16
    l32i a3, a0, 12
    l32i a2, a0, 8
    l32i a1, a0, 4
    l32i a0, a0, 0
    rfe

/* The test finds the table of functions by it. */
    .section .data.rel.ro, "aw", @progbits
    .long services

    .text
    .balign 4
    .literal_position
    .literal .Lvectors, vectors
    .literal .Lstate, 0x4000F /* registers are windowed, no interrupts */
    .literal .Lstack, 0x00FFFFE0
    .literal .Lmain, main
    .text
    .global mpy_init
mpy_init:
    movi a0, 1
    wsr a0, windowstart
    movi a0, 0
    wsr a0, windowbase
    rsync
    movi a0, 1 /* the FPU */
    wsr a0, cpenable
    l32r a0, .Lvectors
    wsr a0, vecbase
    l32r a0, .Lstate
    wsr a0, ps
    rsync
    movi a0, 0
    l32r a1, .Lstack
    l32r a8, .Lmain
    callx8 a8
    movi a2, 1
    movi a3, 0
    .byte 0x00, 0x51, 0x00

/* int simcall(int operation, int a, void *b, int c): the emulator's services. */
    .balign 4
    .global simcall
simcall:
    entry a1, 16
    .byte 0x00, 0x51, 0x00
    retw.n
