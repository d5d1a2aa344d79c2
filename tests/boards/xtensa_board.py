"""The native module for xtensawin on an emulated Xtensa: calls of its functions, by Python.

The file is placed in memory and relocated as MicroPython does it, beside a program that stands in
for MicroPython (xtensa/). Both are linked by MicroPython's own linker."""

import array
import struct
import subprocess
import sys
import threading
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
NATMOD = ROOT / "usermod_c" / "natmod"
QEMU = "qemu-system-xtensa"
# Windowed registers and an FPU; what an ESP32 has besides, xtensa/start.s does by hand.
MACHINE = ["-M", "sim", "-cpu", "de233_fpu", "-semihosting"]

PROGRAM, MODULE, DATA, ARENA = 0x10000, 0x100000, 0x400000, 0x800000
FUNCTION_TABLE, NAME_TABLE = 87, 0x7F0000  # entries; an address
SECONDS = 100  # for all calls
INTEGER, BUFFER, TUPLE = range(3)
RETURNED = 0


class NativeFile:
    """A native .mpy file: see MicroPython's py/persistentcode.c and tools/mpy_ld.py."""

    def __init__(self, path):
        self.content, self.at = path.read_bytes(), 4
        magic, self.version, features, _ = self.content[:4]
        assert magic == ord("M")
        self.sub_version, self.architecture = features & 3, features >> 2
        names, objects = self.number(), self.number()
        self.names = [self.name() for _ in range(names)]
        assert objects == 0
        self.text = self.bytes(self.number() >> 3)
        flags = self.number()
        self.rodata_bytes = self.number() if flags & 0x20 else 0
        self.bss_bytes = self.number() if flags & 0x40 else 0
        self.rodata = self.bytes(self.rodata_bytes)

    def number(self):
        value = 0
        while True:
            byte = self.content[self.at]
            self.at += 1
            value = value << 7 | byte & 0x7F
            if byte < 0x80:
                return value

    def bytes(self, count):
        self.at += count
        return bytearray(self.content[self.at - count : self.at])

    def name(self):
        length = self.number()
        if length & 1:
            return None  # one that every MicroPython has
        return self.bytes((length >> 1) + 1)[:-1].decode()

    def place(self, text_at, data_at, table_at=0, table=()):
        """Relocate; returns what lies where. The data are zeros first, then constants."""
        bss = (self.bss_bytes + 3) & ~3
        destinations = {0: text_at, 1: data_at + bss, 2: data_at}
        fixed = {6: NAME_TABLE, 7: 0, 8: table_at}
        while (op := self.content[self.at]) != 0xFF:
            self.at += 1
            if op & 1:
                offset = self.number()
                section, word = (self.rodata if offset & 1 else self.text), offset >> 1
            op >>= 1
            count = self.number() if op <= 5 and op & 1 else 1
            target = destinations[op >> 1] if op <= 5 else fixed.get(op)
            if target is None:
                target = table[op - 9]
            for _ in range(count):
                (value,) = struct.unpack_from("<I", section, 4 * word)
                struct.pack_into("<I", section, 4 * word, value + target & 0xFFFFFFFF)
                word += 1
        return {text_at: self.text, data_at: bytearray(bss) + self.rodata}


def build_program(folder, llvm, micropython):
    """The program that stands in for MicroPython, as a native module."""
    config = folder / "config.h"
    link = [sys.executable, micropython / "tools" / "mpy_ld.py", "--arch", "xtensawin"]
    sources = [HERE / "xtensa" / "start.s", HERE / "xtensa" / "program.c", NATMOD / "string.c"]
    printed(*link, "--preprocess", "-o", config, *sources[1:])
    flags = [f"-I{micropython}", f"-I{folder}", "-std=c99", "-Os", "-Wall", "-Wextra", "-DNO_QSTR"]
    flags += ["-Wno-unused-parameter", "-Wno-sign-compare", "-Werror"]  # MicroPython's headers
    flags += ["-DMICROPY_ENABLE_DYNRUNTIME", "-DMP_CONFIGFILE=<config.h>", f"-DMODULE={MODULE}"]
    flags += ["-DMICROPY_FLOAT_IMPL=MICROPY_FLOAT_IMPL_FLOAT", f"-DARENA={ARENA}"]
    objects = [folder / f"{source.stem}.o" for source in sources]
    for source, target in zip(sources, objects):
        compiler = [sys.executable, NATMOD / "xtensa" / "compile.py", llvm / "gcc"]
        printed(*compiler, *flags, "-o", target, "-c", source)
    printed(*link, "--qstrs", config, "-o", folder / "program.mpy", *objects)
    return folder / "program.mpy"


def printed(*command):
    """What a program prints, which has to end well."""
    done = subprocess.run(
        [str(word) for word in command], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def memory(program, module):
    """Program and module as they lie in memory, and the numbers of the module's names."""
    placed = program.place(PROGRAM, DATA)
    constants = placed[DATA]
    pointer = len(constants) - len(program.rodata)  # start.s has it first
    (table_at,) = struct.unpack_from("<I", constants, pointer)
    table = struct.unpack_from(f"<{FUNCTION_TABLE}I", constants, table_at - DATA)
    placed |= module.place(MODULE, DATA + 0x100000, table_at, table)
    placed[NAME_TABLE] = struct.pack(f"<{len(module.names)}H", *range(len(module.names)))
    return placed, {name: number for number, name in enumerate(module.names)}


class Board:
    """An engine: the functions of the module as methods."""

    def __init__(self, folder, program, module):
        placed, self.numbers = memory(NativeFile(program), NativeFile(module))
        command = [QEMU, *MACHINE, "-display", "none", "-serial", "none", "-monitor", "none"]
        for at, content in placed.items():
            path = folder / f"{at:x}.bin"
            path.write_bytes(content)
            command += ["-device", f"loader,file={path},addr={at:#x},force-raw=on"]
        command += ["-device", f"loader,addr={PROGRAM:#x},cpu-num=0"]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe)
        self.limit = threading.Timer(SECONDS, self.process.kill)
        self.limit.start()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.limit.cancel()
        self.process.kill()
        self.process.communicate()

    def read(self, count):
        content = self.process.stdout.read(count)
        if len(content) < count:
            raise OSError(f"the emulator ended with {self.process.wait()}")
        return content

    def words(self, count):
        return struct.unpack(f"<{count}I", self.read(4 * count))

    def __getattr__(self, name):
        number = self.numbers[name]

        def call(*arguments):
            request = [struct.pack("<II", number, len(arguments)), *map(packed, arguments)]
            self.process.stdin.write(b"".join(request))
            self.process.stdin.flush()
            if self.words(1)[0] != RETURNED:
                raise ValueError(self.read(self.words(1)[0]).decode())
            is_integer, value = self.words(2)
            for argument in arguments:
                self.fill(argument)
            return value if is_integer else bool(value)

        return call

    def fill(self, argument):
        """Buffers come back as the function left them."""
        if isinstance(argument, tuple):
            for item in argument:
                self.fill(item)
        elif not isinstance(argument, int):
            content = self.read(memoryview(argument).nbytes)
            if not isinstance(argument, bytes):
                memoryview(argument).cast("B")[:] = content


def packed(argument):
    if isinstance(argument, int):
        return struct.pack("<Ii", INTEGER, argument)
    if isinstance(argument, tuple):
        return struct.pack("<II", TUPLE, len(argument)) + b"".join(map(packed, argument))
    typecode = argument.typecode if isinstance(argument, array.array) else "B"
    content = bytes(argument)
    return struct.pack("<III", BUFFER, len(content), ord(typecode)) + content
