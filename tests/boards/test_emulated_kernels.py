"""The q8 kernels in assembly against the plain ones, on emulated microcontrollers."""

import subprocess

import pytest

from tinyinc_host import bench_engine

missing = bench_engine.missing_tools("arm-none-eabi-gcc", "qemu-system-arm")
pytestmark = pytest.mark.skipif(bool(missing), reason=f"not installed: {' '.join(missing)}")

QEMU = {machine.core: machine for machine in bench_engine.MACHINES if machine.qemu}
HERE = bench_engine.ROOT / "tests" / "boards"
BUILDS = {
    "own": ["-DKERNELS(name)=own_##name"],
    "plain": ["-DKERNELS(name)=plain_##name", "-DTINYINC_PLAIN"],
    "program": [],
}


@pytest.mark.parametrize("core", QEMU)
def test_same_to_the_last_bit(core, tmp_path):
    machine = QEMU[core]
    common = [*machine.flags, "-std=gnu99", "-O2", "-ffreestanding", "-DTIMER=0x40000000"]
    common += [f"-I{bench_engine.SOURCE}", f"-I{bench_engine.CORE}"]
    objects = [tmp_path / f"{name}.o" for name in BUILDS]
    for built, flags in zip(objects, BUILDS.values()):
        kernels = HERE / "kernels.c"
        bench_engine.run([bench_engine.GCC, *common, *flags, "-c", kernels, "-o", built])
    places = {"FLASH": machine.flash, "RAM": machine.ram, "RAM_BYTES": machine.ram_bytes}
    link = [f"-Wl,--defsym={name}={value:#x}" for name, value in {**places, "PAYLOAD": 0}.items()]
    link += ["-nostartfiles", "-Wl,--no-warn-rwx-segments", "-T", bench_engine.SOURCE / "bench.ld"]
    start, program = bench_engine.SOURCE / "startup.c", tmp_path / "kernels.elf"
    bench_engine.run([bench_engine.GCC, *common, *link, *objects, start, "-o", program])
    command = ["qemu-system-arm", "-M", machine.qemu, "-display", "none", "-monitor", "none"]
    command += ["-serial", "none", "-chardev", "stdio,id=out", "-kernel", program]
    command += ["-semihosting-config", "enable=on,chardev=out"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=100, stdin=subprocess.DEVNULL
    )
    assert done.stdout == "same\n"
