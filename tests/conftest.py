"""What all tests share: where the device package lives, reproducible examples, the engines."""

import importlib.util
import sys
from pathlib import Path

import hypothesis
import pytest

ROOT = Path(__file__).parent.parent
IMPORTED = ("micro", "tests/core", "tests/faults", "tests/faults/fuzz", "tests/vectors")
sys.path += [str(ROOT / folder) for folder in IMPORTED]

hypothesis.settings.register_profile(
    "tinyinc",
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)
hypothesis.settings.load_profile("tinyinc")

ENGINES = {"c": "_tinyinc", "pure": "tinyinc.pure"}


def module_at(path):
    """A program as a module of the test's own, which nobody else imports."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pytest_addoption(parser):
    parser.addoption(
        "--engine",
        choices=[*ENGINES, "both"],
        default="both",
        help="engines that tests/core runs on; c alone suits a sanitizer build",
    )


def pytest_generate_tests(metafunc):
    """A test with an `engine` argument runs on each engine that was asked for."""
    if "engine" in metafunc.fixturenames:
        asked = metafunc.config.getoption("engine")
        names = list(ENGINES) if asked == "both" else [asked]
        metafunc.parametrize("engine", names, indirect=True, scope="session")


@pytest.fixture(scope="session")
def engine(request):
    return importlib.import_module(ENGINES[request.param])


@pytest.fixture(scope="session")
def c_engine(request):
    """The C core, for what the pure engine cannot see."""
    if request.config.getoption("engine") == "pure":
        pytest.skip("needs the C core")
    return importlib.import_module(ENGINES["c"])


@pytest.fixture(scope="session")
def engines(c_engine, request):
    """All engines at once, C first."""
    if request.config.getoption("engine") == "c":
        pytest.skip("needs both engines")
    return [c_engine, importlib.import_module(ENGINES["pure"])]
