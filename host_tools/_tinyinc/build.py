"""How the C core becomes the extension module `_tinyinc_core`; run by setup.py.

TINYINC_CFLAGS adds compiler flags, for example -march=native. TINYINC_SANITIZE=1 builds with
AddressSanitizer and UndefinedBehaviorSanitizer instead of optimising (`make sanitize` uses it, with
a place of its own, so that the module under its usual name is not replaced).
"""

import os
import re
from pathlib import Path

from cffi import FFI

CORE = Path(__file__).resolve().parent.parent.parent / "usermod_c" / "core"

# Contraction is off everywhere so that every machine gets the same sums.
STANDARD = ["-std=c99", "-ffp-contract=off"]
FAST = ["-O3"]
CHECKED = [
    "-O1",
    "-g",
    "-fno-omit-frame-pointer",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
]


def declarations() -> str:
    """tinyinc.h without its preprocessor lines, except constants: what cffi can read."""
    constant = re.compile(r"#define \w+ (0x)?[0-9A-F]+u?\b")
    lines = (CORE / "tinyinc.h").read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if line[:1] != "#" or constant.match(line))


sanitize = os.environ.get("TINYINC_SANITIZE", "") not in ("", "0")
flags = STANDARD + (CHECKED if sanitize else FAST) + os.environ.get("TINYINC_CFLAGS", "").split()

ffi = FFI()
ffi.cdef(declarations())
ffi.set_source(
    "_tinyinc_core",
    '#include "tinyinc.h"',
    # Absolute: objects of paths with .. would land outside the build folder.
    sources=sorted(map(str, CORE.glob("*.c"))),
    depends=sorted(map(str, CORE.glob("*.h"))),
    include_dirs=[str(CORE)],
    extra_compile_args=flags,
    extra_link_args=[flag for flag in flags if flag.startswith("-fsanitize")],
)
