"""The plan as a table: every tensor with its place and its time."""

import io

import pytest
from rich.console import Console

from tinyinc.engine import engine
from tinyinc_host import network, plan

LAYERS = network.parse("conv4,max2,depthwise3,conv4x1,8")


@pytest.fixture(params=["f32", "q8"])
def net(request):
    layers = [*LAYERS, network.dense(3)]
    return network.network((8, 8, 1), layers, labels="abc", format=request.param)


@pytest.mark.parametrize("learning", [False, True])
def test_tensors(net, learning):
    tensors, needed = plan.plan(net, learning)
    assert needed == engine.scratch_bytes(net.sections, learning)
    assert needed == max(t.offset + t.bytes for t in tensors)
    for i, one in enumerate(tensors):
        assert one.offset % 8 == one.bytes % 8 == 0
        for other in tensors[:i]:
            together = one.first <= other.last and other.first <= one.last
            apart = (
                one.offset + one.bytes <= other.offset or other.offset + other.bytes <= one.offset
            )
            same_place = (one.offset, one.bytes) == (other.offset, other.bytes)
            assert apart or not together or same_place  # depthwise in place
    values = [t for t in tensors if t.role == "values"]
    assert [t.layer for t in values] == list(range(6))
    size = 4 if net.format == "f32" else 1
    assert values[0].bytes == 8 * 8 * 4 * size
    gradients = [t.layer for t in tensors if t.role == "gradient"]
    assert gradients == (list(range(6)) if learning else [])


def test_less_for_inference(net):
    assert plan.plan(net, False)[1] < plan.plan(net, True)[1] == net.scratch_bytes


def test_table(net):
    text = io.StringIO()
    plan.show(net, Console(file=text, width=120))
    lines = text.getvalue().splitlines()
    assert sum("inference" in line for line in lines) == 1
    assert sum("a step of learning" in line for line in lines) == 1
    assert any("0 conv" in line and "8 x 8 x 4" in line and "values" in line for line in lines)
    peaks = [line for line in lines if "peak" in line]
    assert str(plan.plan(net, False)[1]) in peaks[0] and str(net.scratch_bytes) in peaks[1]
    assert f"scratch: {net.scratch_bytes} bytes" in plan.summary(net)


def test_frozen_bytes_are_named():
    layers = [network.replace(LAYERS[0], train="none"), *LAYERS[1:], network.dense(3)]
    net = network.network((8, 8, 1), layers)
    assert f"{len(net.sections[2])} frozen" in plan.summary(net)
