#!/usr/bin/env python3
"""Convert a firmware's binary to UF2, the form in which a Pico's USB drive takes it:
uf2.py BOARD FIRMWARE.bin FIRMWARE.uf2"""

from __future__ import annotations

import struct
import sys
from pathlib import Path

FLASH = 0x10000000
PAYLOAD = 256  # bytes of a block of 512
FAMILIES = {"RPI_PICO": 0xE48BFF56, "RPI_PICO2": 0xE48BFF59}  # RP2040; RP2350, Arm, secure
MAGIC = 0x0A324655, 0x9E5D5157
MAGIC_END = 0x0AB16F30
HAS_FAMILY = 0x2000


def convert(content: bytes, family: int) -> bytes:
    """All blocks, with the last one's payload filled up with what erased flash reads."""
    parts = [content[at : at + PAYLOAD] for at in range(0, len(content), PAYLOAD)]
    blocks = []
    for number, part in enumerate(parts):
        address = FLASH + PAYLOAD * number
        header = *MAGIC, HAS_FAMILY, address, PAYLOAD, number, len(parts), family
        data = part.ljust(PAYLOAD, b"\xff").ljust(476, b"\x00")
        blocks.append(struct.pack("<8I476sI", *header, data, MAGIC_END))
    return b"".join(blocks)


def main(names: list[str]) -> int:
    if len(names) != 3 or names[0] not in FAMILIES:
        print(f"{__doc__}\nBOARD is one of {', '.join(FAMILIES)}", file=sys.stderr)
        return 2
    board, source, target = names
    Path(target).write_bytes(convert(Path(source).read_bytes(), FAMILIES[board]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
