"""Every single bit of the golden image flipped, one at a time: refused, or harmless."""

from pathlib import Path

import pytest

import fuzz
import images
import results
from tinyinc import store
from tinyinc_host import report

GOLDEN = (Path(__file__).parent.parent / "vectors" / "golden.tinc").read_bytes()


def flips(content):
    """A bytearray with each bit flipped in turn, and the number of the byte."""
    flipped = bytearray(content)
    for at in range(len(flipped)):
        for bit in range(8):
            flipped[at] ^= 1 << bit
            yield at, flipped
            flipped[at] ^= 1 << bit


def test_flips_reach_the_core(c_engine):
    """Nothing but the engine's own checks: only bytes that it never reads may change."""
    image = images.parse(GOLDEN)
    places = [(0, len(image.net[0]), 0)]
    places += [
        (int(entry["offset"]), int(entry["bytes"]), int(entry["kind"]))
        for entry in image.table
        if entry["kind"] < len(image.net)
    ]
    refused, harmless = 0, 0
    for at, flipped in flips(GOLDEN):
        sections = [b""] * len(image.net)
        for offset, size, kind in places:
            sections[kind] = bytes(flipped[offset : offset + size])
        try:
            c_engine.check(sections)
            harmless += 1
            assert tuple(sections) == image.contents(), f"byte {at} changed what the engine uses"
        except ValueError:
            refused += 1
    extensions = sum(len(body) for _, body in image.extensions)
    assert (refused, harmless) == (8 * (len(GOLDEN) - extensions), 8 * extensions)
    results.record(
        report.Result("flips of the golden image: refused by the engine", refused, "bits"),
        report.Result("flips of the golden image: harmless to the engine", harmless, "bits"),
    )


def test_flips_reach_the_loader(c_engine, tmp_path):
    """What load() reads, extensions included, is checked to the last bit."""
    path = tmp_path / "golden.tinc"
    path.write_bytes(GOLDEN)
    assert len(store.load(str(path))[0]) == 5
    refused = 0
    with path.open("r+b", buffering=0) as file:
        for at, flipped in flips(GOLDEN):
            file.seek(at)
            file.write(flipped[at : at + 1])
            with pytest.raises((ValueError, MemoryError)):
                store.load(str(path))
            refused += 1
            file.seek(at)
            file.write(GOLDEN[at : at + 1])
    assert refused == 8 * len(GOLDEN)
    results.record(
        report.Result("flips of the golden image: refused by the loader", refused, "bits")
    )


def test_flips_with_right_crcs():
    """All bits once more, with CRCs made to match, so that only the checks of fields are left. On
    what they accept, the fuzz target runs every call, with all that it demands of the outputs."""
    path = fuzz.CORPUS / "golden.bin"
    executions = fuzz.run(fuzz.build(), "-flips", path)
    assert executions == 1 + 8 * path.stat().st_size
    assert path.read_bytes().endswith(GOLDEN)
    results.record(
        report.Result("flips with CRCs made right: without a finding", executions - 1, "bits")
    )
