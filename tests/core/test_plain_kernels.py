"""The kernels for vector units and their plain twins give the same bits."""

import ctypes
import subprocess

import numpy as np
import pytest
from conftest import ROOT

import images
from images import conv, dense, max_pool

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


def learned(library, image, samples):
    """The trained section after a step on each sample, and all that the last step reported."""
    net, sections = ctypes.create_string_buffer(4096), [bytearray(s) for s in image.copy().net]
    views = [(ctypes.c_char * len(s)).from_buffer(s) if s else None for s in sections]
    places = (ctypes.c_void_p * 5)(*(view and ctypes.addressof(view) for view in views))
    assert library.tinc_open(net, places, (ctypes.c_size_t * 5)(*map(len, sections))) == 0
    library.tinc_scratch_bytes.restype = ctypes.c_size_t
    needed = library.tinc_scratch_bytes(net, 1)
    scratch = np.zeros(needed // 8 + 1, np.uint64)
    counts, figures = np.zeros(20, np.uint32), np.zeros(3, "f4")
    for target, x in enumerate(samples):
        arguments = pointer(counts), pointer(figures), pointer(scratch), ctypes.c_size_t(needed)
        assert library.tinc_learn(net, pointer(x), target, *arguments) == 0
    return bytes(sections[images.TRAINED]), counts.tobytes(), figures.tobytes()


CONVOLUTIONS = {
    "3 x 3 on one channel": ((9, 9, 1), [conv(8, 3, padding=1), max_pool(2)]),
    "blocks of eight": ((6, 7, 8), [conv(5, 3, padding=1), conv(3, 3)]),
    "blocks and a rest": ((7, 6, 3), [conv(7, 3, padding=1), conv(4, (2, 3), stride=2)]),
    "single pixels": ((5, 5, 3), [conv(11, 1), conv(3, 1, stride=2)]),
}


@pytest.mark.parametrize("zeros", [0, 0.3, 0.9])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolution(libraries, name, zeros):
    shape, layers = CONVOLUTIONS[name]
    rng = np.random.default_rng(0)
    image = images.network(shape, [*map(dict, layers), dense(3)], rule=0, learning_rate=0.01)
    samples = rng.normal(size=(3, np.prod(shape))).astype("f4")
    samples[rng.random(samples.shape) < zeros] = 0
    before = bytes(image.net[images.TRAINED])
    results = {learned(library, image.seal(), samples) for library in libraries}
    assert len(results) == 1
    assert results.pop()[0] != before


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
