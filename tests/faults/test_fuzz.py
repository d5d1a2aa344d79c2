"""Hostile images: the fuzzer of fuzz/ for a short time, on a core built with sanitizers.

FUZZ_SECONDS says for how long: continuous integration takes two minutes. `make fuzz` takes longer.
"""

import os
import shutil
import time

import pytest

import fuzz

SECONDS = int(os.environ.get("FUZZ_SECONDS", "20"))


@pytest.fixture(scope="module")
def fuzzer():
    return fuzz.build()


@pytest.mark.parametrize("path", fuzz.corpus(), ids=lambda path: path.stem)
def test_corpus(fuzzer, path):
    assert fuzz.run(fuzzer, "-once", path) == 1


def test_fuzz(fuzzer):
    """With another seed each time."""
    assert fuzz.fuzz(fuzzer, SECONDS, seed=int(time.time())) > 1000 * SECONDS


def test_broken_checks_are_found(tmp_path):
    """Two checks taken out of the core: the fuzzer notices in no time."""
    core = shutil.copytree(fuzz.CORE, tmp_path / "core")
    image = (core / "image.c").read_text()
    for check in " || m->count > m->capacity", "offset < header_bytes || ":
        assert check in image
        image = image.replace(check, "")
    (core / "image.c").write_text(image)
    fuzzer = fuzz.build(core, tmp_path / "build")
    with pytest.raises(RuntimeError, match="AddressSanitizer|not so"):
        fuzz.fuzz(fuzzer, 60, seed=1)
