"""Frozen weights in memory that nobody can write to."""

import mmap

import numpy as np
import pytest

import tinyinc
from device_scripts import ROOT, output
from tinyinc_host import network

SCRIPT = ROOT / "tests" / "micro" / "frozen.py"


@pytest.fixture(params=["f32", "q8"])
def image(request, tmp_path):
    """A convolution and a dense layer frozen; of the layers above, one's bias alone is trained."""
    layers = [
        network.conv(4, 3, padding="same", train="none"),
        network.max_pool(2),
        network.dense(8, train="bias"),
        network.dense(np.random.default_rng(1).normal(0, 0.5, (3, 8))),
    ]
    more = {"labels": ["a", "b", "c"], "raw_range": (0, 10), "format": request.param}
    net = network.network((4, 6, 1), layers, memory=6, replay=1, **more)
    net.save(str(tmp_path / "frozen.tinc"))
    return tmp_path / "frozen.tinc"


@pytest.mark.parametrize("target", ["unix", "cpython"])
def test_script(target, image):
    assert output(target, SCRIPT, image).endswith("PASS\n")


def test_read_only_memory(image):
    """A write would end the process."""
    with open(image, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as memory:
        net = tinyinc.load(str(image), frozen=memory)
        other = tinyinc.load(str(image))
        samples = np.random.default_rng(0).uniform(0, 10, (40, 24)).astype(np.float32)
        for i, row in enumerate(samples):
            net.configure(rule=("full", "sampled", "tinyprop")[i % 3])
            other.configure(rule=("full", "sampled", "tinyprop")[i % 3])
            assert net.learn(row, "abc"[i % 3]).loss == other.learn(row, "abc"[i % 3]).loss
        net.save()
        assert net.sections[1] == other.sections[1]
        assert bytes(net.sections[2]) == bytes(other.sections[2])
        net.deinit()


def test_no_scratch_below_what_is_trained(image):
    """Nothing is kept for layers that do not learn."""
    net = tinyinc.load(str(image))
    shape, layers = network.read(net)
    trained = [network.replace(layer, train="all") for layer in layers if layer.has_weights]
    trained = [trained[0], layers[1], *trained[1:]]
    everything = network.network(shape, trained, labels=net.labels, format=net.format)
    assert net.scratch_bytes < everything.scratch_bytes
    assert net.dense_backward_macs == 2 * 24 < everything.dense_backward_macs
