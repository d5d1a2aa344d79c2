"""The engine in plain Python: the functions of the C module `_tinyinc`, without the C.

It is what runs where no C module is, and the slow, obvious twin that the C core is held against.
Every function takes the network as a tuple of its five sections (structure, trained, frozen,
memory, state: bytes-like, writable where a call writes) and raises ValueError, with a text of
`faults.TEXTS`, for anything that is wrong with them; no buffer but the outputs has changed then.
"""

from .forward import infer, matmul, normalise, scratch_bytes, topk
from .image import check, check_structure, crc32, seal
from .learn import learn, replay
from .memory import choose, follow, is_new, move, nearest, quantise, recall, remember, vote
from .resize import grow, least_useful, shrink

__all__ = (
    "check",
    "check_structure",
    "choose",
    "crc32",
    "follow",
    "grow",
    "infer",
    "is_new",
    "learn",
    "least_useful",
    "matmul",
    "move",
    "nearest",
    "normalise",
    "quantise",
    "recall",
    "remember",
    "replay",
    "scratch_bytes",
    "seal",
    "shrink",
    "topk",
    "vote",
)
