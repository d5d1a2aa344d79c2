#!/usr/bin/env python3
"""Get a MicroPython source tree and print its path.

In this order: the folder named by MPY_DIR; a shallow git clone of one pinned release; Debian's
source package, through a package mirror that this system already uses. A tree that was fetched is
kept in build/micropython. What was chosen is said on stderr, so that stdout is the path alone.
MPY_RELEASE asks for another release than 1.25, kept in build/micropython-<release>.

Exit code 2 when there is no tree; the message then says what to do.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Git tag and its commit, which names the content by its hash (none: not by git); the Debian suite
# that has it; the folder below build/.
RELEASES = {
    "1.25": ("v1.25.0", "f498a16c7db6d4b2de200b3e0856528dfe0613c3", "trixie", "micropython"),
    "1.26": ("v1.26.1", "", "forky", "micropython-1.26"),
}
RELEASE = os.environ.get("MPY_RELEASE") or "1.25"
TAG, COMMIT, DEBIAN_SUITE, FOLDER = RELEASES.get(RELEASE, RELEASES["1.25"])
TREE = ROOT / "build" / FOLDER
WORK = TREE.with_name(f"{FOLDER}.part")

GIT_URL = "https://github.com/micropython/micropython"
APT = Path("/etc/apt")
DEBIAN_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
OLDEST = (1, 24)  # earlier firmware can collect a module's own objects

# Written last: a tree without it was interrupted. Holds the tag and where the tree came from.
STAMP = ".tinyinc-source"


class NoTree(Exception):
    """There is no usable tree; the text says why."""


def version_of(tree: Path) -> str:
    """MicroPython's version of a source tree, for example "1.25.0"."""
    header = tree / "py" / "mpconfig.h"
    try:
        text = header.read_text(encoding="utf-8")
    except OSError as error:
        raise NoTree(f"{tree} is not a MicroPython source tree: no py/mpconfig.h") from error
    parts = []
    for name in ("MAJOR", "MINOR", "MICRO"):
        found = re.search(rf"^#define MICROPY_VERSION_{name}\s+(\d+)", text, re.MULTILINE)
        if not found:
            raise NoTree(f"{header} does not say MICROPY_VERSION_{name}")
        parts.append(int(found.group(1)))
    version = ".".join(map(str, parts))
    if tuple(parts[:2]) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise NoTree(f"{tree} is MicroPython {version}, expected {oldest} or newer")
    return version


def run(command: list[str], seconds: float, **environment: str) -> str:
    """Run a program with a time limit; returns its output, or raises NoTree with its last line."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, "LC_ALL": "C", **environment},
            start_new_session=True,  # so that the programs it starts can be ended with it
        )
    except OSError as error:
        raise NoTree(f"{command[0]} is not installed") from error
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired as error:
        raise NoTree(f"{command[0]} did not answer within {seconds:.0f} s") from error
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.returncode:
        lines = output.strip().splitlines() or [f"{command[0]} failed"]
        raise NoTree(lines[-1])
    return output


def clone(tree: Path) -> None:
    """Fetch the pinned release with git. A tag can be moved: what came has to be the commit."""
    if not COMMIT:
        raise NoTree(f"the commit of {TAG} is not known")
    git = ["git", "-c", "http.lowSpeedLimit=1000", "-c", "http.lowSpeedTime=10"]
    quiet = {"GIT_TERMINAL_PROMPT": "0"}
    # A short question first: git's own limits do not cover the time it takes to connect.
    run([*git, "ls-remote", "--exit-code", GIT_URL, f"refs/tags/{TAG}"], 15, **quiet)
    options = ["-c", "advice.detachedHead=false", "clone", "--quiet", "--depth=1"]
    run([*git, *options, f"--branch={TAG}", GIT_URL, str(tree)], 600, **quiet)
    commit = run(["git", "-C", str(tree), "rev-parse", "HEAD"], 10).strip()
    if commit != COMMIT:
        raise NoTree(f"{TAG} of {GIT_URL} is commit {commit}, expected {COMMIT}")


def debian_mirrors() -> list[str]:
    """Mirrors that this system's apt uses for a component `main`, in their order."""
    mirrors = []
    folder = APT / "sources.list.d"
    for path in sorted(folder.glob("*.sources")):
        for stanza in re.split(r"\n\s*\n", path.read_text(encoding="utf-8", errors="replace")):
            lines = [line for line in stanza.splitlines() if not line.startswith("#")]
            fields = dict(line.split(":", 1) for line in lines if re.match(r"[\w-]+:", line))
            fields = {name.lower(): value.split() for name, value in fields.items()}
            if "main" in fields.get("components", []) and fields.get("enabled") != ["no"]:
                mirrors += fields.get("uris", [])
    for path in [*sorted(folder.glob("*.list")), APT / "sources.list"]:
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        entries = re.findall(r"^deb\s+(?:\[[^]\n]*\]\s+)?(\S+)\s+\S+\s+([^#\n]*)", text, re.M)
        mirrors += [uri for uri, components in entries if "main" in components.split()]
    # Security updates have an archive of their own that holds no source of ours.
    mirrors = [uri.rstrip("/") for uri in mirrors if "security" not in uri]
    return list(dict.fromkeys(mirrors))


def apt_at(mirror: str, folder: Path, suite: str = DEBIAN_SUITE) -> list[str]:
    """The command of an apt that knows this mirror alone, checks its signatures against Debian's
    own keys, and downloads into `folder`, below which is everything that it writes."""
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True)
    source = f"[signed-by={DEBIAN_KEYRING}] {mirror} {suite} main\n"
    (folder / "sources.list").write_text(f"deb {source}deb-src {source}")
    options = {
        "Dir::Etc::sourcelist": folder / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::State::lists": folder / "lists",
        "Dir::Cache": folder / "cache",
        "APT::Sandbox::User": "root",  # the unprivileged user cannot write here
        "APT::Update::Error-Mode": "any",
        "Acquire::Languages": "none",
        "Acquire::Retries": "1",
        "Acquire::http::Timeout": "10",
        "Acquire::https::Timeout": "10",
    }
    apt = ["env", "-C", str(folder), "apt-get", "-q"]  # it downloads into the current folder
    for name, value in options.items():
        apt += ["-o", f"{name}={value}"]
    run([*apt, "update"], 180)
    return apt


def fetch_source(apt: list[str], folder: Path, package: str) -> Path:
    """Download a source package, and return its tarball."""
    run([*apt, "source", "--download-only", package], 600)
    tarballs = sorted(folder.glob(f"{package}_*.orig.tar.*"))
    if not tarballs:
        raise NoTree(f"no source tarball in Debian's package {package}")
    return tarballs[0]


def unpack(tarball: Path, tree: Path) -> None:
    """Unpack a tarball without its top folder. Only plain files inside `tree` are written: no
    links, no names that lead outside."""
    with tarfile.open(tarball) as archive:
        for member in archive:
            parts = Path(member.name).parts[1:]
            if not member.isfile() or not parts or ".." in parts:
                continue
            path = tree.joinpath(*parts)
            path.parent.mkdir(parents=True, exist_ok=True)
            with archive.extractfile(member) as source, open(path, "wb") as target:
                shutil.copyfileobj(source, target)
            path.chmod(0o755 if member.mode & 0o100 else 0o644)
            os.utime(path, (member.mtime, member.mtime))


def from_debian(get: Callable[[list[str], Path], None], suite: str = DEBIAN_SUITE) -> None:
    """Call `get` with an apt command for a suite and its folder: for one mirror after the other,
    until it succeeds."""
    if not DEBIAN_KEYRING.exists():
        raise NoTree(f"no Debian keyring ({DEBIAN_KEYRING})")
    mirrors = debian_mirrors()
    if not mirrors:
        raise NoTree(f"no package mirror in {APT}")
    download = TREE.with_name(f"{TREE.name}.apt")
    reasons = []
    for mirror in mirrors:
        try:
            get(apt_at(mirror, download, suite), download)
            return
        except (NoTree, OSError, tarfile.TarError) as error:
            reasons.append(str(error))
        finally:
            shutil.rmtree(download, ignore_errors=True)
    raise NoTree("; ".join(reasons))


def debian_source(tree: Path) -> None:
    """Fetch Debian's source package."""
    from_debian(lambda apt, folder: unpack(fetch_source(apt, folder, "micropython"), tree))


SOURCES = {"a git clone": clone, "Debian's source package": debian_source}


def cached() -> tuple[str, str] | None:
    """Version and origin of the finished tree in build/, or None when it has to be fetched."""
    try:
        tag, origin = (TREE / STAMP).read_text(encoding="utf-8").splitlines()
        return (version_of(TREE), origin) if tag == TAG else None
    except (OSError, ValueError, NoTree):
        return None


def fetch() -> tuple[str, str]:
    """Fill build/micropython from the first source that works; returns version and origin."""
    reasons = []
    for origin, get in SOURCES.items():
        print(f"Getting MicroPython {TAG}: {origin} ...", file=sys.stderr)
        shutil.rmtree(WORK, ignore_errors=True)
        WORK.parent.mkdir(parents=True, exist_ok=True)
        try:
            get(WORK)
            version = version_of(WORK)
        except (NoTree, OSError) as error:
            reasons.append(f"{origin}: {error}")
            continue
        (WORK / STAMP).write_text(f"{TAG}\n{origin}\n", encoding="utf-8")
        shutil.rmtree(TREE, ignore_errors=True)
        WORK.rename(TREE)
        return version, origin
    shutil.rmtree(WORK, ignore_errors=True)
    raise NoTree("; ".join(reasons))


def find() -> tuple[Path, str, str]:
    """The tree to build from, its version and its origin."""
    given = os.environ.get("MPY_DIR")
    if given:
        tree = Path(given).expanduser().resolve()
        return tree, version_of(tree), "MPY_DIR"
    if RELEASE not in RELEASES:
        raise NoTree(f"MPY_RELEASE is {RELEASE}, expected one of {', '.join(RELEASES)}")
    return (TREE, *(cached() or fetch()))


def announced() -> Path:
    """The tree to build from; its version and origin are said on stderr."""
    tree, version, origin = find()
    shown = tree.relative_to(ROOT) if ROOT in tree.parents else tree
    print(f"MicroPython {version} from {origin}: {shown}", file=sys.stderr)
    return tree


def print_path(get: Callable[[], Path], lacking: str, todo: str) -> int:
    """Print the path that is got, or on stderr what is lacking, why and what to do: exit code."""
    try:
        path = get()
    except (NoTree, OSError) as error:
        print(f"{lacking} ({error}): {todo}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    print(path)
    return 0


def main() -> int:
    if len(sys.argv) > 1:
        print(__doc__.strip())
        return 0 if sys.argv[1] in ("-h", "--help") else 2
    todo = "set MPY_DIR to a MicroPython source tree, 1.24 or newer"
    return print_path(announced, "No MicroPython source", todo)


if __name__ == "__main__":
    sys.exit(main())
