"""Writes ../corpus: small images of many kinds, each behind a program of calls (see target.c).

Run it when the format or the operations change: python tests/faults/fuzz/make_corpus.py
"""

import struct
import sys
from pathlib import Path

import numpy as np

TESTS = Path(__file__).parent.parent.parent
CORPUS = TESTS / "faults" / "corpus"
sys.path.insert(0, str(TESTS / "core"))

import images  # noqa: E402

# what each number of run_operation() in target.c does
INFER, LEARN, _, RAW, GROW, SHRINK, LEAST_USEFUL, REPLAY, RECALL, REMEMBER, NEAREST, MOVE, *_ = (
    range(16)
)
CHECK, VOTE, LARGEST, EXTRACT, POKE = 12, 13, 14, 15, 192
CONSTANT, NOISE, BITS, ONE_HOT = range(4)  # of the sample


def word(number):
    return struct.unpack("<I", struct.pack("<f", number))[0]


EVERYTHING = [
    (INFER, 0, 0, NOISE, 1),
    (LEARN, 0, 0, NOISE, 2),
    (LEARN, 1, 0, ONE_HOT, word(2.0)),
    (RAW, 0, 1, NOISE, 3),
    (RAW, 1, 4, CONSTANT, word(0.5)),
    (GROW, 0, 1, 0, 0),
    (LEAST_USEFUL, 0, 0, 0, 0),
    (SHRINK, 0, 0, 0, 0),
    (GROW, 1, 1, 0, 0),
    (REMEMBER, 0, 0, NOISE, 4),
    (NEAREST, 255, 1, 1, 5),
    (MOVE, 0, 0, 1, 6),
    (REPLAY, 248, 0, 0, 0),
    (RECALL, 0, 0, 0, 0),
    (VOTE, 0, 0, 1, word(0.5)),
    (LEARN, 0, 0, CONSTANT, word(1e6)),
    (SHRINK, 1, 0, 0, 0),
    (CHECK, 0, 0, 0, 0),
    (LARGEST, 40, 7, BITS, 7),
    (INFER, 0, 0, CONSTANT, word(-1.0)),
]
FEATURES = [
    (EXTRACT, 1, 0, NOISE, 1),
    (EXTRACT, 0, 0, BITS, 2),
    (EXTRACT, 1, 0, CONSTANT, word(1e6)),
    *EVERYTHING,
]
POKES = [
    (LEARN, 0, 0, NOISE, 1),
    (POKE, images.TRAINED, 0, 0, word(np.inf)),
    (LEARN, 0, 0, NOISE, 1),
    (POKE, images.TRAINED, 9, 0, word(1e38)),
    (LEARN, 1, 0, NOISE, 2),
    (POKE, images.MEMORY, 16, 0, 0xFFFFFFFF),
    (REPLAY, 248, 0, 0, 0),
    (POKE, images.STATE, 32, 0, word(3e38)),
    (LEARN, 0, 0, NOISE, 3),
    (POKE, images.MEMORY, 1, 0, 0xFFFFFFFF),
    (REMEMBER, 0, 0, NOISE, 4),
]


SLOT_WITHOUT_CLASSES = [
    (POKE, images.MEMORY, 1, 0, 1),
    (VOTE, 0, 0, 1, word(0.5)),
    (REPLAY, 248, 0, 0, 0),
    (NEAREST, 255, 1, 1, 5),
]


def programmed(image, operations, sealed=True):
    program = b"".join(struct.pack("<4BI", *operation) for operation in operations)
    return bytes([sealed, len(operations)]) + program + image.file()


def shapes():
    """Images by name, each with something that the others do not have."""
    memory = {"slots": 4, "used": 3, "vote": 3}
    yield "one_layer", images.build((3, 2))
    yield "two_layers", images.build((4, 6, 3), (4, 2), **memory)
    yield "no_classes", images.build((4, 3, 2), (2, 0))
    yield "no_units", images.build((4, 3, 2), (0, 2))
    yield "full_memory", images.build((5, 4, 2), slots=3, used=3, stride=9)
    yield "empty_memory", images.build((5, 4, 2), slots=3, used=0)
    yield "frozen_front", images.build((6, 5, 4), flags=(0, 3), **memory)
    yield "biases_only", images.build((4, 9, 3), (5, 2), flags=(2, 2))
    yield "wide", images.build((33, 20, 3), (17, 3), rule=4)
    yield "deep", images.build((2,) * 9)
    for number, rule in enumerate(images.RULES):
        yield rule, images.build((7, 9, 5, 3), (8, 4, 2), rule=number, **memory)
    extreme = {"rule": 4, "learning_rate": 10, "error_threshold": 1e6, "replay": 255}
    yield "extreme", images.build((3, 4, 4, 2), header={"input_low": -1e6}, **extreme)
    yield "extension", images.build((3, 2), extensions=[(99, 0, b"8 bytes."), (77, 2, bytes(16))])
    yield from pictures()
    image = images.build((4, 6, 5, 3), rule=4)
    for index in range(3):
        image.weights(index)[:] *= np.float32(1e12)
    yield "large_weights", image


def pictures():
    """Networks for images, in both formats, and dense ones in q8."""
    memory = {"slots": 3, "used": 2, "vote": 3}
    residual = [
        images.conv(4, 3, stride=2, padding=1),
        images.depthwise(3, padding=1, activation="relu6"),
        images.conv(4, 1, activation="linear", eighths=4),
        images.add(0),
        images.max_pool(2),
        images.dense(5, 4, eighths=2),
        images.dense(3, 2),
    ]
    staged = [
        images.conv(3, 3, padding=1, train=0),
        images.average_pool(2),
        images.depthwise(3, padding=1),
        images.max_pool((3, 1)),
        images.dense(3),
    ]
    stage = {"header": {"stage_layers": 2, "stage_rows": 1}}
    for name, q8 in (("f32", False), ("q8", True)):
        yield f"residual_{name}", images.network((7, 6, 2), residual, q8=q8, **memory)
        yield f"staged_{name}", images.network((6, 6, 1), staged, q8=q8, **stage)
    int8 = [images.conv(3, (1, 3), weight_type=images.INT8), images.dense(5)]
    int8 += [images.dense(3, 2, weight_type=images.INT8)]
    yield "int8", images.network((1, 9, 2), int8, q8=True, rule=4, **memory)
    for number, rule in enumerate(images.RULES):
        layers = [images.dense(9, 8), images.dense(5, 4), images.dense(3, 2)]
        yield f"q8_{rule}", images.network((7,), layers, q8=True, rule=number, **memory)


def front_ends():
    """Networks with a front end, one of them strip by strip, and with a memory of 4 bits."""
    layers = [
        images.conv(3, 3, padding=1, train=0),
        images.max_pool(2),
        images.depthwise(3, padding=1, train=0),
        images.dense(6, train=0),
        images.dense(5, 4),
        images.dense(3, 2),
    ]
    memory = {"slots": 4, "used": 3, "vote": 3}
    stage = {"stage_layers": 2, "stage_rows": 1}
    for name, q8 in (("f32", False), ("q8", True)):
        packed = {"packed": True, "positive": q8, "seed": 3}
        yield f"packed_{name}", images.build((7, 5, 3), (4, 2), q8=q8, **memory, **packed)
        for front, more in ((2, {}), (3, stage), (4, {})):
            header = {"front_layers": front} | more
            image = images.network((6, 6, 1), layers, q8=q8, header=header, **memory)
            yield f"front{front}_{name}", image


def main():
    CORPUS.mkdir(exist_ok=True)
    for name, image in shapes():
        (CORPUS / f"{name}.bin").write_bytes(programmed(image, EVERYTHING))
    for name, image in front_ends():
        (CORPUS / f"{name}.bin").write_bytes(programmed(image, FEATURES))
    golden = images.parse((TESTS / "vectors" / "golden.tinc").read_bytes())
    (CORPUS / "golden.bin").write_bytes(programmed(golden, EVERYTHING))
    (CORPUS / "damaged.bin").write_bytes(programmed(golden, EVERYTHING, sealed=False))
    (CORPUS / "poked.bin").write_bytes(programmed(golden, POKES))
    every_kind = images.parse((TESTS / "vectors" / "golden_q8.tinc").read_bytes())
    (CORPUS / "golden_q8.bin").write_bytes(programmed(every_kind, EVERYTHING))
    classless = images.build((4, 2), (0,), slots=3, vote=3, distance=9)
    (CORPUS / "classless.bin").write_bytes(programmed(classless, SLOT_WITHOUT_CLASSES))


if __name__ == "__main__":
    main()
