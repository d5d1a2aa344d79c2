"""Raw samples: number formats, clipping, and what is refused."""

import subprocess
import sys
from array import array

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import images
from driver import Driver, floats

RANGE = {"b": (-128, 127), "B": (0, 255), "h": (-32768, 32767), "H": (0, 65535)}


def network(inputs=4, **fields):
    defaults = {"input_offset": 3.0, "input_scale": 0.01, "input_low": -1.5, "input_high": 2.0}
    return images.build((inputs, 5, 3), header=defaults | fields)


def normalised(raw):
    return np.clip((np.asarray(raw, "f8") - 3) * 0.01, -1.5, 2)


@pytest.mark.parametrize("typecode", RANGE)
@given(data=st.data())
def test_integers(engine, typecode, data):
    raw = data.draw(st.lists(st.integers(*RANGE[typecode]), min_size=4, max_size=4))
    for buffer in array(typecode, raw), memoryview(array(typecode, raw)):
        x = Driver(engine, network()).normalise(buffer)
        np.testing.assert_allclose(x, normalised(raw), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kind", [bytes, bytearray, lambda raw: memoryview(bytes(raw))])
def test_bytes_are_uint8(engine, kind):
    raw = [0, 1, 200, 255]
    x = Driver(engine, network()).normalise(kind(raw))
    np.testing.assert_allclose(x, normalised(raw), rtol=1e-6, atol=1e-7)


@given(
    raw=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=4, max_size=4)
)
def test_floats(engine, raw):
    x = Driver(engine, network()).normalise(array("f", raw))
    np.testing.assert_allclose(x, normalised(raw), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("raw, clipped", [(1e38, 2), (-1e38, -1.5), (203, 2), (-147, -1.5)])
def test_clipping(engine, raw, clipped):
    assert Driver(engine, network()).normalise(floats([raw] * 4)) == pytest.approx([clipped] * 4)


def test_a_negative_scale_mirrors(engine):
    x = Driver(engine, network(input_offset=0, input_scale=-0.5)).normalise(bytes([0, 1, 2, 3]))
    assert x.tolist() == [0, -0.5, -1, -1.5]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("position", [0, 2, 3])
def test_values_that_are_not_finite(engine, value, position):
    raw = floats([1, 2, 3, 4])
    raw[position] = value
    with pytest.raises(ValueError, match=rf"\b{position}\b"):
        Driver(engine, network()).normalise(raw)


@pytest.mark.parametrize("count", [0, 3, 5, 64])
@pytest.mark.parametrize("typecode", ["B", "h", "f"])
def test_wrong_count(engine, count, typecode):
    with pytest.raises(ValueError, match=rf"\b{count}\b.*\b4\b"):
        Driver(engine, network()).normalise(array(typecode, [1] * count))


@pytest.mark.parametrize("typecode", "iIlLqQd")
def test_wrong_type(engine, typecode):
    with pytest.raises((ValueError, TypeError), match="type|format"):
        Driver(engine, network()).normalise(array(typecode, [1] * 4))


@pytest.mark.parametrize("raw", [None, 3, "text", [1, 2, 3, 4]])
def test_not_a_buffer(engine, raw):
    with pytest.raises((ValueError, TypeError), match="type|buffer"):
        Driver(engine, network()).normalise(raw)


@pytest.mark.parametrize("x", [floats([0] * 3), array("d", [0] * 4), bytes(16)])
def test_wrong_destination(engine, x):
    with pytest.raises((ValueError, TypeError, BufferError)):
        engine.normalise(network().net, bytes(4), x)


def test_the_network_stays_as_it_was(engine):
    image = network()
    before = image.contents()
    Driver(engine, image).normalise(bytes(4))
    assert image.contents() == before


def test_an_error_may_be_kept(c_engine):
    """Errors in reference cycles, of calls on views of buffers, are garbage like any other."""
    script = f"""
import gc, sys
sys.path[:0] = {sys.path}
import _tinyinc, images
from driver import Driver
for _ in range(30):
    made = images.build((3, 4, 2))
    made.net = tuple(memoryview(section) for section in made.net)
    try:
        Driver(_tinyinc, made).learn([1, 2, 3], 7)
    except ValueError as error:
        error.itself = error
gc.collect()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
