#!/usr/bin/env python3
"""Stands in for Espressif's C compiler, with LLVM: compile.py LLVM/gcc FLAGS... -o OBJECT -c SOURCE

LLVM is a folder with Debian's packages of it (boards/llvm.py). clang makes LLVM's code of C, llc
assembly, llvm-mc an object for MicroPython's mpy_ld.py. What LLVM's young Xtensa backend and that
linker do not do, or do wrong, is made good on the way, in the text between them. A source that is
no C is assembly.
"""

from __future__ import annotations

import re
import struct
import subprocess
import sys
from pathlib import Path

from elftools.elf.elffile import ELFFile  # as the linker does

# GCC's flags that clang has not. It leaves the loops of a freestanding program as they are; and
# addresses are literals, which the linker collects in one table, as -fpic is to make sure.
UNKNOWN = {"-fpic", "-fno-tree-loop-distribute-patterns"}
# A jump table would be addresses of labels, among the constants. clang warns of a structure that
# one argument of a call fills and another points to.
ALWAYS = ["--target=xtensa", "-ffreestanding", "-fno-jump-tables"]
ALWAYS += ["-Wno-uninitialized-const-pointer"]
CPU = "esp32"  # the ESP32-S3 has all that it has
NO_MERGING = ["-disable-branch-fold", "-branch-fold-placement=0", "-enable-tail-merge=0"]
LLC = ["-mtriple=xtensa", f"-mcpu={CPU}", "-relocation-model=static", *NO_MERGING]
MC = ["--triple=xtensa", f"--mcpu={CPU}", "--filetype=obj"]

SLOT0_OP = 20  # the relocation of an instruction, R_XTENSA_SLOT0_OP
LOAD_LITERAL = 1  # the lowest four bits of l32r


class Failed(Exception):
    """A program of LLVM failed, and has said why; or its output cannot be linked."""


def run(llvm: Path, program: str, *arguments: str | Path, text: str | None = None) -> str:
    """The output of a program of LLVM, given `text`; it runs with the C library that came with it,
    as the system's may be older."""
    (loader,) = (llvm / "usr").glob("lib*/ld-linux*.so.*")
    (libraries,) = (llvm / "usr" / "lib").glob("*-linux-gnu")
    (binary,) = (llvm / "usr" / "lib").glob(f"llvm-*/bin/{program}")
    command = [loader, "--library-path", libraries, binary, *arguments]
    done = subprocess.run(command, input=text, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise Failed
    return done.stdout


def choices_of_bits(code: str) -> str:
    """LLVM 22 cannot select between two constant floats for Xtensa: select between their bits."""

    def bits(number: str) -> int:
        exact = bytes.fromhex(number[2:]) if number.startswith("0x") else None
        value = struct.unpack(">d", exact)[0] if exact else float(number)
        return struct.unpack("<i", struct.pack("<f", value))[0]

    def change(found: re.Match) -> str:
        name, condition, one, other = found.groups()
        chosen = f"%bits.{name[1:]}"
        return (
            f"{chosen} = select {condition}, i32 {bits(one)}, i32 {bits(other)}\n"
            f"  {name} = bitcast i32 {chosen} to float"
        )

    number = r"float (-?[\d.]+e[+-]\d+|0x[0-9A-F]{16})"
    select = rf"(%[\w.]+) = select (i1 [%\w.]+), {number}, {number}"
    return re.sub(select, change, code)


def with_names_of_a_file(code: str, file: str) -> str:
    """Make a file's own functions, constants and variables known to all files, under names that no
    other has: the linker tells the addresses that a program loads by these names alone."""
    own = r"^(?:@([\w.]+) = (?:private|internal) |define internal [^@]*@([\w.]+)\()"
    names = {a or b for a, b in re.findall(own, code, re.MULTILINE)}
    code = re.sub(r"^(@[\w.]+ =|define) (private|internal) ", r"\1 ", code, flags=re.MULTILINE)
    return re.sub(
        r"@([\w.]+)", lambda name: f"@{file}.{name[1]}" if name[1] in names else name[0], code
    )


def with_aligned_stack(assembly: str, file: str) -> str:
    """Arguments that do not fit into registers take multiples of 16 bytes of stack, as the ABI has
    it: LLVM 22 takes what they need, but counts on an aligned stack in the function called. (It may
    not merge the ends of calls: they would not be known for what they are.)"""

    def change(found: re.Match) -> str:
        register, sign, size = found.groups()
        return f"addi\t{register}, a1, {sign}{-(-int(size) // 16) * 16}\n\tmovsp\ta1, {register}"

    assembly, changed = re.subn(r"addi\t(a\d+), a1, (-?)(\d+)\n\tmovsp\ta1, \1", change, assembly)
    arrays = re.findall(r"sub\t(a\d+), a1, a\d+\n\tmovsp\ta1, \1", assembly)  # aligned already
    if changed + len(arrays) != assembly.count("movsp"):
        raise Failed(f"{file}: the stack pointer moves in an unknown way")
    return assembly


def linkable(assembly: str, file: str) -> str:
    """Put constants where the linker relocates them. It cannot add to an address."""
    for literal in re.findall(r"^\t\.literal\s+[\w.$]+, ([^\n]+)", assembly, re.MULTILINE):
        name, offset = re.fullmatch(r"([\w.$-]+)([+-]\d+)?", literal).groups()
        if offset and name != "mp_fun_table":
            raise Failed(f"{file}: a literal {literal} cannot be linked")
    constants = '\t.section\t.data.rel.ro,"aw",@progbits'
    return re.sub(r"^\t\.section\t\.rodata.*$", constants, assembly, flags=re.MULTILINE)


def clear_offsets(target: Path) -> None:
    """Set the offsets of instructions that load a literal to 0, as GNU's assembler does: the linker
    adds to what it finds, and LLVM leaves -1."""
    with open(target, "r+b") as file:
        elf = ELFFile(file)
        for section in elf.iter_sections("SHT_RELA"):
            place = elf.get_section(section["sh_info"])["sh_offset"]
            for relocation in section.iter_relocations():
                if relocation["r_info_type"] == SLOT0_OP:
                    file.seek(place + relocation["r_offset"])
                    opcode = file.read(1)[0]
                    if opcode & 0xF != LOAD_LITERAL:
                        raise Failed(f"{target}: an instruction other than l32r is relocated")
                    file.write(b"\0\0")


def compile_source(llvm: Path, source: str, target: str, flags: list[str]) -> None:
    (resources,) = (llvm / "usr" / "lib").glob("llvm-*/lib/clang/*")
    (headers,) = (llvm / "usr" / "lib").glob("xtensa-*/include")
    file = Path(source).stem
    if source.endswith(".c"):
        clang = [flag for flag in flags if flag not in UNKNOWN] + ALWAYS
        clang += ["-resource-dir", resources, "-isystem", headers]
        code = run(llvm, "clang", *clang, "-S", "-emit-llvm", "-o", "-", source)
        code = with_names_of_a_file(choices_of_bits(code), file)
        assembly = run(llvm, "llc", *LLC, "-o", "-", text=code)
        assembly = linkable(with_aligned_stack(assembly, file), file)
    else:
        assembly = Path(source).read_text(encoding="utf-8")
    run(llvm, "llvm-mc", *MC, "-o", target, text=assembly)
    clear_offsets(Path(target))


def main(arguments: list[str]) -> int:
    if not arguments or Path(arguments[0]).name != "gcc" or not {"-c", "-o"} <= set(arguments):
        print(__doc__.strip(), file=sys.stderr)
        return 2
    llvm, flags = Path(arguments[0]).parent, arguments[1:]
    at = flags.index("-o")
    _, target = flags.pop(at), flags.pop(at)
    at = flags.index("-c")
    _, source = flags.pop(at), flags.pop(at)
    try:
        compile_source(llvm, source, target, flags)
    except Failed as error:
        Path(target).unlink(missing_ok=True)
        if str(error):
            print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
