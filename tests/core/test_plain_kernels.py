"""The kernels for vector units and their plain twins give the same bits."""

import ctypes
import subprocess

import numpy as np
import pytest
from conftest import ROOT

SOURCES = sorted(map(str, (ROOT / "usermod_c" / "core").glob("*.c")))
BUILDS = {"plain": ["-DTINYINC_PLAIN"], "vector": [], "native": ["-march=native"]}


def pointer(array):
    return array.ctypes.data_as(ctypes.c_void_p)


@pytest.fixture(scope="module")
def libraries(tmp_path_factory):
    folder = tmp_path_factory.mktemp("core")
    loaded = []
    for name, flags in BUILDS.items():
        library = folder / f"{name}.so"
        command = ["gcc", "-std=c99", "-O3", "-ffp-contract=off", "-fPIC", "-shared", *flags]
        subprocess.run([*command, *SOURCES, "-o", library], check=True)
        loaded.append(ctypes.CDLL(str(library)))
    return loaded


@pytest.mark.parametrize("inputs", [1, 7, 8, 9, 31, 64, 785])
@pytest.mark.parametrize("rows", [1, 3, 4, 5, 8, 13])
def test_dense(libraries, rows, inputs):
    rng = np.random.default_rng(rows * 1000 + inputs)
    stride = inputs + 3
    w = rng.normal(size=(rows, stride)).astype("f4")
    bias, x = rng.normal(size=rows).astype("f4"), rng.normal(size=inputs).astype("f4")
    results = []
    for library in libraries:
        out = np.zeros(rows, "f4")
        library.tinc_dense(
            pointer(out), pointer(w), pointer(bias), pointer(x), rows, inputs, stride
        )
        results.append(out.tobytes())
        np.testing.assert_allclose(out, w[:, :inputs].astype("f8") @ x + bias, rtol=1e-4, atol=1e-5)
    assert len(set(results)) == 1
