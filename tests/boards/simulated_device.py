"""The program that MicroPython's unix port runs to be a board: simulated_board.py starts it.

Its file system is littlefs or FAT on a flash that is a file of the desktop. It reads scripts from
its standard input, each after its length in 4 bytes, and answers BEGUN and then as a board does in
its raw REPL: what the script prints, 0x04, the traceback, 0x04.
"""

import io
import json
import os
import sys

import vfs

BLOCK = 4096
READY = "\x06"  # to take scripts; Ctrl-C is a signal, which would end what comes before
BEGUN = "\x02"  # a script
IN_BOOTLOADER = 3  # exit code


class Flash:
    """A block device in a file. The power fails at a write, unless that is number 0."""

    def __init__(self, path, block_bytes, writes_to_live):
        self.file = open(path, "r+b")  # noqa: SIM115 (as long as the board lives)
        self.block_bytes = block_bytes
        self.size = self.file.seek(0, 2)
        self.writes_to_live = writes_to_live

    def seek(self, block, offset):
        self.file.seek(block * self.block_bytes + offset)

    def readblocks(self, block, buffer, offset=0):
        self.seek(block, offset)
        self.file.readinto(buffer)

    def writeblocks(self, block, buffer, offset=0):
        self.writes_to_live -= 1
        if self.writes_to_live == 0:
            os.system("kill -9 $PPID")
        self.seek(block, offset)
        self.file.write(buffer)

    def ioctl(self, operation, _):
        if operation == 4:
            return self.size // self.block_bytes
        if operation == 5:
            return self.block_bytes
        return 0


class Machine:
    """The module of that name: its boot loader is the end of this program."""

    @staticmethod
    def bootloader():
        sys.exit(IN_BOOTLOADER)


class Like:
    """An object with some attributes replaced."""

    def __init__(self, original, attributes):
        self.original = original
        self.attributes = attributes

    def __getattr__(self, name):
        attributes = self.attributes
        return attributes[name] if name in attributes else getattr(self.original, name)


def mount(settings):
    file_systems = {"littlefs": (vfs.VfsLfs2, BLOCK), "fat": (vfs.VfsFat, 512)}
    kind, block_bytes = file_systems[settings["file_system"]]
    flash = Flash(settings["flash"], block_bytes, settings["writes_to_live"])
    vfs.umount("/")
    if settings["format"]:
        kind.mkfs(flash)
    vfs.mount(flash, "/")
    os.chdir("/")
    if settings["format"]:
        os.mkdir("/lib")


def pretend(settings):
    """To be another board, as far as sys.implementation says."""
    implementation = settings["implementation"]
    if "version" in implementation:
        implementation["version"] = tuple(implementation["version"])
    fake = Like(sys.implementation, implementation)
    sys.modules["sys"] = Like(sys, {"implementation": fake})
    sys.modules["machine"] = Machine()


def execute(code, names):
    """Run a script, or a line of the friendly REPL after 0; the text of its exception, if any."""
    try:
        sys.stdout.write(BEGUN)
        exec(compile(code.lstrip(b"\0"), "<stdin>", "single" if code[0] == 0 else "exec"), names)
    except BaseException as problem:
        if not isinstance(problem, SystemExit):
            text = io.StringIO()
            sys.print_exception(problem, text)
            return text.getvalue()
        if problem.args == (IN_BOOTLOADER,):
            raise
    return ""


def main():
    settings = json.loads(sys.argv[1])
    mount(settings)
    sys.path[:] = ["", ".frozen", "/lib"]
    pretend(settings)
    names = {"__name__": "__main__"}
    requests = sys.stdin.buffer
    sys.stdout.write(READY)
    while size := requests.read(4):
        error = execute(requests.read(int.from_bytes(size, "little")), names)
        sys.stdout.write("\x04" + error + "\x04")


main()
