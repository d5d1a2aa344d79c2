"""A network that the desktop has given a frozen front end, as the board then uses it."""

import pytest

from device_scripts import ROOT, output
from tinyinc_host import network

SCRIPT = ROOT / "tests" / "micro" / "front_end.py"


@pytest.mark.parametrize("target", ["unix", "cpython"])
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("kind", ["f32", "q8"])
def test_script(target, kind, bits, tmp_path):
    front = [network.conv(8, (1, 3), padding="same"), network.max_pool((1, 2))]
    layers = [*front, network.dense(16), network.dense(6)]
    more = {"raw_range": (0, 100), "format": kind, "memory": 24, "memory_bits": bits}
    net = network.network((1, 8, 1), layers, front=len(front), **more)
    net.save(str(tmp_path / "front.tinc"))
    assert output(target, SCRIPT, tmp_path / "front.tinc").endswith("PASS\n")
