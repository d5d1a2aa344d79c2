"""Puts a network onto a board, and with it a program.

The file is copied beside the old one, checked byte for byte, and loaded on the board, before it
gets its name. Then the two slots of its checkpoints get their full size, so that the first save
changes no directory: on FAT, a power cut in that one could do harm.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import tinyinc
from tinyinc_host.board import Board, BoardError, Report, ScriptError, explained, printable

LINEAGE = slice(24, 40)  # in the header of an image
PATIENCE = 60.0  # seconds for what writes or reads whole files

ASK = """
import gc, os
def _look(path):
    try:
        with open(path, "rb") as file:
            return os.stat(path)[6], file.read(64)
    except OSError:
        return -1, b""
_folder = os.getcwd()
_space = os.statvfs(_folder)
_root = _folder if _folder[-1] == "/" else _folder + "/"
gc.collect()
print((_root, _space[1], _space[1] * _space[4],
    [_look(_root + {name!r} + end) for end in ("", ".0/checkpoint", ".1/checkpoint")]))
"""

LOAD = """
import gc, tinyinc
gc.collect()
net = tinyinc.load({path!r})
gc.collect()
print((net.format, net.scratch_bytes, gc.mem_free()))
"""

SLOTS = """
import os
for _slot in {slots!r}:
    try:
        os.mkdir(_slot.rsplit("/", 1)[0])
    except OSError as error:
        if error.errno != 17:
            raise
    _zeros = bytes(512)
    with open(_slot, "wb") as _file:
        for _ in range({size} // 512):
            _file.write(_zeros)
        _file.write(_zeros[:{size} % 512])
"""


@dataclass(frozen=True)
class Deployed:
    path: str
    format: str
    memory_free: int  # on the board, with the network loaded
    goes_on: bool  # with a checkpoint that the board saved of this very network


def deploy(
    board: Board,
    image: Path,
    main: Path | None = None,
    progress: Callable[[str, int], Report] = lambda *_: lambda _: None,
) -> Deployed:
    """Put an image on a board, and `main` as its main.py. BoardError: it does not fit or did not
    work; the text says in which state the board is."""
    tinyinc.load(str(image))  # ValueError when it is damaged
    content = image.read_bytes()
    program = main.read_bytes() if main else b""
    if main:
        check_program(main, program)
    state = "what was deployed before is as it was"
    try:
        root, block, free, files = look(board, image.name)
        path = root + image.name
        slots = [f"{path}.{n}/checkpoint" for n in (0, 1)]
        missing = [slot for slot, (size, _) in zip(slots, files[1:]) if size != len(content)]
        check_room(free, block, [len(content)] * (1 + len(missing)) + [len(program)])
        report = progress("copying", len(content) + len(program))
        memory_free, kind = upload(board, path, content, report)
        if main:
            copy(board, root + "main.py", program, report)
        board.run(f"import os\nos.rename({path + '.new'!r}, {path!r})")
        state = "the network is deployed, its checkpoints have no room yet"
        if missing:
            board.run(SLOTS.format(slots=missing, size=len(content)), PATIENCE)
        state = "the network is deployed"
        if main:
            name = root + "main.py"
            board.run(f"import os\nos.rename({name + '.new'!r}, {name!r})")
    except ScriptError as error:
        tidy(board, image.name)
        raise BoardError(f"{explained(error)}; {state}") from None
    except BoardError as error:
        raise BoardError(f"{error}; {state}") from None
    lineages = [header[LINEAGE] for size, header in files[1:] if size == len(content)]
    return Deployed(path, kind, memory_free, content[LINEAGE] in lineages)


def check_program(path: Path, program: bytes) -> None:
    try:
        ast.parse(program)
    except SyntaxError as error:
        raise ValueError(f"'{path}' is no program: {error}") from None


def look(board: Board, name: str) -> tuple[str, int, int, list[tuple[int, bytes]]]:
    """The board's folder, its block size and free bytes; size and header of the image and its
    slots."""
    said = board.ask(ASK.format(name=name))
    try:
        root, block, free, files = said
        files = [(int(size), bytes(header)) for size, header in files]
        if len(files) != 3:
            raise ValueError
        return str(root), max(1, int(block)), int(free), files
    except (TypeError, ValueError):
        raise BoardError(f"the board's answer makes no sense: {printable(str(said))}") from None


def check_room(free: int, block: int, sizes: list[int]) -> None:
    folders = 4  # two, of up to two blocks each
    needed = block * (folders + sum(math.ceil(size / block) for size in sizes))
    if free < needed:
        raise BoardError(
            f"too little room for files on the board: {free} bytes are free, the network and its "
            f"checkpoints need {needed}"
        )


def upload(board: Board, path: str, content: bytes, report: Report) -> tuple[int, str]:
    """The image, whole and usable, beside its place."""
    copy(board, path, content, report)
    board.restart()
    try:
        kind, _, free = board.ask(LOAD.format(path=path + ".new"), PATIENCE)
        return int(free), printable(kind)
    except ScriptError as error:
        tidy(board, path.rpartition("/")[2])
        if error.kind == "ImportError":
            raise BoardError("TinyInc is not on the board: run `tinyinc install` first") from None
        raise BoardError(f"the board cannot use this network: {explained(error)}") from None
    except (TypeError, ValueError):
        raise BoardError("the board's answer makes no sense") from None


def copy(board: Board, path: str, content: bytes, report: Report) -> None:
    """A file beside its place, byte for byte."""
    board.put(path + ".new", content, report)
    board.verify({path + ".new": content})


def tidy(board: Board, name: str) -> None:
    """Remove what was not finished, if the board is still there."""
    script = "import os\nfor name in {!r}:\n    try:\n        os.remove(name)\n"
    script += "    except OSError:\n        pass"
    try:
        board.restart()
        board.run(script.format([name + ".new", "main.py.new"]))
    except BoardError:
        pass
