"""Where the tests of faults find what they share: results.py, the fuzzer, and tests/core."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path += [str(HERE), str(HERE / "fuzz"), str(HERE.parent / "core")]
