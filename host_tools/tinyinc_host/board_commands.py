"""The subcommands of `tinyinc` that deal with a real board: install, deploy, flash, repl."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from tinyinc_host.flash import BOARDS
from tinyinc_host.package import MODULES

if TYPE_CHECKING:  # imported where needed: tinyinc and mpremote take their time
    from tinyinc_host.board import Report
    from tinyinc_host.install import Facts

console = Console()

Port = Annotated[str | None, typer.Option(help="Serial port; or the only board on USB.")]


def install(
    port: Port = None,
    modules: Annotated[
        Path, typer.Option(help="Folder of native modules, _tinyinc-ARCH.mpy.")
    ] = MODULES,
) -> None:
    """Put TinyInc on a board that runs MicroPython, and test it there."""
    from tinyinc_host import install as installation
    from tinyinc_host.board import connected

    with connected(port) as board, Progress(console=console) as progress:
        done = installation.install(board, modules, bar(progress), tell)
    if done.copied:
        what = f"_tinyinc for {done.module.architecture}" if done.module else "the package"
        size = f" of {len(done.module.content)} bytes" if done.module else ""
        say(f"installed in {done.facts.lib}/tinyinc, with {what}{size}")
    else:
        say(f"nothing to install: TinyInc {done.facts.frozen_package} is in this firmware")
    say(f"self-test: {', '.join(map(str, done.tested))}")


def deploy(
    image: Annotated[Path, typer.Argument(help="The image, a .tinc file.")],
    port: Port = None,
    main: Annotated[Path | None, typer.Option(help="A program, to be the board's main.py.")] = None,
    tool: Annotated[str, typer.Option("--with", help="mpremote or ampy.")] = "mpremote",
) -> None:
    """Put a network onto a board, and with it a program."""
    from tinyinc_host import deploy as deployment
    from tinyinc_host.board import connected

    for path in filter(None, (image, main)):
        if not path.is_file():
            raise FileNotFoundError(f"there is no file '{path}'")
    with connected(port, tool) as board, Progress(console=console) as progress:
        done = deployment.deploy(board, image, main, bar(progress))
    say(f"{done.path}: {done.format}, {done.memory_free // 1024} KB of memory free beside it")
    if done.goes_on:
        say("the board has a checkpoint of this network and goes on from what it has learned")


def flash(
    firmware: Annotated[
        Path | None, typer.Argument(help="A .uf2 or .bin file; or what `make firmware` built.")
    ] = None,
    board: Annotated[str, typer.Option(help=f"One of {', '.join(BOARDS)}.")] = "RPI_PICO",
    port: Port = None,
    drive: Annotated[Path | None, typer.Option(help="A Pico's boot drive.")] = None,
    erase: Annotated[bool, typer.Option("--erase", help="Erase an ESP32's files, too.")] = False,
) -> None:
    """Flash a firmware onto a board."""
    from tinyinc_host import flash as flashing

    with Progress(console=console) as progress:
        task = progress.add_task("flashing", total=1.0)
        done = flashing.flash(
            board,
            firmware,
            port,
            drive,
            erase,
            lambda share: progress.update(task, completed=share),
        )
        progress.update(task, completed=1.0)
    say(f"{done} is on the board, which starts anew")


def repl_command(port: Port = None) -> None:
    """Open a board's REPL on this terminal."""
    from tinyinc_host.board import repl

    if repl(port):
        raise typer.Exit(2)


COMMANDS = {"install": install, "deploy": deploy, "flash": flash, "repl": repl_command}


def tell(facts: Facts) -> None:
    say(f"the board: {facts}")


def say(text: str) -> None:
    console.print(text, soft_wrap=True, markup=False, highlight=False)


def bar(progress: Progress) -> Callable[[str, int], Report]:
    """A function that makes the function to report bytes to."""

    def begin(what: str, total: int) -> Report:
        task = progress.add_task(what, total=total)
        return lambda count: progress.advance(task, count)

    return begin
