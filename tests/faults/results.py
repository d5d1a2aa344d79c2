"""Measured robustness: build/bench/faults.json, which several tests and tools add to."""

from pathlib import Path

from tinyinc_host import report

PATH = Path(__file__).parent.parent.parent / "build" / "bench" / "faults.json"


def record(*results: report.Result) -> None:
    """Add results to the file, in place of those of the same name."""
    names = {result.name for result in results}
    before = report.read(PATH)["results"] if PATH.exists() else []
    kept = [report.Result(**entry) for entry in before if entry["name"] not in names]
    report.write(PATH, [*kept, *results])
