"""The engine on emulated microcontrollers: the weights that it learns there, and the clock by which
it is measured."""

from dataclasses import replace

import pytest

from tinyinc_host import bench_engine

STEPS = 20

missing = bench_engine.missing_tools("arm-none-eabi-gcc", "qemu-system-arm")
pytestmark = pytest.mark.skipif(bool(missing), reason=f"not installed: {' '.join(missing)}")

QEMU = {machine.core: machine for machine in bench_engine.MACHINES if machine.qemu}


def job_of(work, steps, number_format="f32", network="B"):
    job = bench_engine.WORKS[work](bench_engine.NETWORKS[network], number_format)
    turns = [i % len(job.samples) for i in range(steps)]
    return replace(
        job, samples=[job.samples[i] for i in turns], targets=[job.targets[i] for i in turns]
    )


@pytest.mark.parametrize("core", QEMU)
@pytest.mark.parametrize("work", ["full", "sampled"])
@pytest.mark.parametrize("number_format", ["f32", "q8"])
def test_learns_the_weights_of_the_desktop(core, work, number_format):
    job = job_of(work, STEPS, number_format)
    before = bench_engine.engine.crc32(job.sections[bench_engine.image.TRAINED])
    there, here = bench_engine.measure(QEMU[core], job), bench_engine.on_desktop(job)
    assert there.crc == here.crc != before
    assert (there.forward, there.backward) == (here.forward, here.backward)
    assert sum(there.backward) > 0


@pytest.mark.parametrize("core", QEMU)
@pytest.mark.parametrize("number_format", ["f32", "q8"])
def test_learns_the_convolutions_of_the_desktop(core, number_format):
    job = job_of("full", 3, number_format, "C")
    there, here = bench_engine.measure(QEMU[core], job), bench_engine.on_desktop(job)
    assert (there.crc, there.forward, there.backward) == (here.crc, here.forward, here.backward)


@pytest.mark.parametrize("core", QEMU)
def test_frozen_layer_alone(core):
    job = bench_engine.full_work(
        bench_engine.frozen(bench_engine.ONE_LAYER), "q8", bench_engine.LAYER
    )
    outcome = bench_engine.checked(QEMU[core], job)
    assert set(outcome.forward) == {784 * 32}
    assert set(outcome.backward) == {0}


@pytest.mark.parametrize("number_format", ["f32", "q8"])
def test_full_work_is_all_the_work(number_format):
    outcome = bench_engine.on_desktop(job_of("full", 8, number_format))
    assert set(outcome.forward) == {64 * 32 + 32 * 10}
    assert set(outcome.backward) == {64 * 32 + 2 * 32 * 10}


def test_counts_repeat():
    runs = [bench_engine.measure(QEMU["Cortex-M0+"], job_of("full", 3)) for _ in range(2)]
    assert runs[0] == runs[1]


def test_wrong_clock_is_noticed(monkeypatch):
    monkeypatch.setattr(bench_engine, "LOOP", {"instructions": 128003})
    with pytest.raises(OSError, match="gives 128002 instructions for a loop of 128003"):
        bench_engine.measure(QEMU["Cortex-M0+"], job_of("full", 1))


def test_fault_on_the_board_is_told():
    job = job_of("full", 1)
    job.sections[bench_engine.image.TRAINED][0] ^= 1
    with pytest.raises(OSError, match="image is damaged: the CRC of section 1"):
        bench_engine.measure(QEMU["Cortex-M0+"], job)
