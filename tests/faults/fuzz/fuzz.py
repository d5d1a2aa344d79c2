"""Builds the fuzzer and runs it for a time: python tests/faults/fuzz/fuzz.py SECONDS [SEED]

The number of executions goes into build/bench/faults.json. A finding goes into build/fuzz, with the
command that repeats it; fix it, then put the input into ../corpus.
"""

import os
import shlex
import struct
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent.parent
CORE = ROOT / "usermod_c" / "core"
CORPUS = HERE.parent / "corpus"
BUILD = ROOT / "build" / "fuzz"
TARGET_EXECUTIONS = 10_000_000

COMMON = ["-std=gnu11", "-g", "-O2", "-Wall", "-Wextra", "-ffp-contract=off"]
SANITIZED = [
    *COMMON,
    "-fno-omit-frame-pointer",
    "-fsanitize=address,undefined,float-cast-overflow",
    "-fno-sanitize-recover=all",
]
COVERED = [*SANITIZED, "-fsanitize-coverage=trace-pc"]
UNCOVERED = {"crc.c", "fault.c"}  # long loops that decide nothing
# Where blocks were allocated is not worth the time; the target frees what it takes.
ENVIRONMENT = {"ASAN_OPTIONS": "malloc_context_size=0:quarantine_size_mb=4:detect_leaks=0"}


def flags(source):
    if source.name == "driver.c":
        return COMMON
    covered = source.parent != HERE and source.name not in UNCOVERED
    return COVERED if covered else SANITIZED


def build(core=CORE, folder=BUILD):
    """The fuzzer of a core, made again when a source is newer."""
    fuzzer = folder / "fuzz"
    sources = [HERE / "driver.c", HERE / "target.c", *sorted(core.glob("*.c"))]
    newest = max(file.stat().st_mtime for file in [*sources, *core.glob("*.h"), Path(__file__)])
    if fuzzer.exists() and fuzzer.stat().st_mtime > newest:
        return fuzzer
    folder.mkdir(parents=True, exist_ok=True)
    compiler = os.environ.get("CC", "gcc")
    objects = [folder / f"{source.stem}.o" for source in sources]
    for source, made in zip(sources, objects):
        command = [compiler, *flags(source), f"-I{core}", "-c", source, "-o", made]
        subprocess.run(command, check=True)
    subprocess.run([compiler, *SANITIZED, *objects, "-o", fuzzer], check=True)
    return fuzzer


def run(fuzzer, *arguments):
    """Run it; how many inputs ran. A finding is a RuntimeError."""
    done = subprocess.run(
        [fuzzer, *map(str, arguments)],
        capture_output=True,
        text=True,
        errors="replace",
        env=os.environ | ENVIRONMENT,
    )
    if done.returncode != 0:
        raise RuntimeError(f"the fuzzer ended with {done.returncode}: {done.stderr[-4000:]}")
    return int(done.stdout.split()[0])


def corpus():
    return sorted(CORPUS.glob("*.bin"))


def fuzz(fuzzer, seconds, seed):
    """Mutate the corpus for a time; how many inputs ran."""
    current = fuzzer.parent / f"current-{seed}"
    try:
        executions = run(fuzzer, seconds, seed, current, *corpus())
    except RuntimeError as error:
        repeat = shlex.join([str(fuzzer), "-once", str(keep_finding(current))])
        raise RuntimeError(f"{error}\nTo repeat it: {repeat}") from None
    current.unlink()
    return executions


def keep_finding(current):
    """The input that was running: its size, then its bytes, as driver.c has them in memory."""
    content = current.read_bytes()
    (size,) = struct.unpack_from("=I", content)
    finding = current.with_name(current.name.replace("current", "finding"))
    finding.write_bytes(content[4 : 4 + size])
    return finding


def main(seconds, seed=None):
    sys.path.insert(0, str(HERE.parent))
    import results
    from tinyinc_host import report

    try:
        executions = fuzz(build(), int(seconds), int(seed or time.time()))
    except RuntimeError as error:
        sys.exit(str(error))
    print(f"{executions} executions without a finding")
    results.record(
        report.at_least("fuzz: executions without a finding", executions, "", TARGET_EXECUTIONS)
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
