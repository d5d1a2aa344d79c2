"""Writes golden.tinc and golden.json, an image that pins the format and what engines make of it;
and golden_q8.tinc and golden_q8.json, one with every kind of layer, in integers; and
golden_front.tinc and golden_front.json, one with a front end and a memory of 4 bits.

Run it only when the format changes on purpose: python tests/vectors/make_golden.py
"""

import json
import sys
import zlib
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "core"))

import _tinyinc  # noqa: E402
import images  # noqa: E402
import q8_reference  # noqa: E402
import reference  # noqa: E402
import storage  # noqa: E402
import trajectory  # noqa: E402

ROUNDS = 40


def pattern(shape, factor, scale):
    """Numbers that are exact in float32 and look like nothing else."""
    count = int(np.prod(shape))
    return ((np.arange(count) * factor % 29 - 14) / scale).reshape(shape)


def build():
    """6 inputs, 5 of 8 frozen and 4 of 7 trained hidden units, 3 of 5 classes, a memory."""
    image = images.build(
        (6, 8, 7, 5),
        (5, 4, 3),
        flags=(0, 3, 3),
        slots=6,
        used=4,
        stride=8,
        step=1 / 64,
        offset=-2,
        extensions=[(77, images.READ_ONLY, b"an extension ...")],
        header={
            "input_offset": 128,
            "input_scale": 1 / 64,
            "input_low": -2,
            "input_high": 2,
            "sequence": 7,
            "input_rank": 2,
            "input_shape": (2, 3, 1, 1),
        },
        rule=images.RULES.index("full"),
        learning_rate=0.125,
    )
    for i in range(3):
        w, b = image.weights(i, active=False), image.bias(i, active=False)
        w[:], b[:] = pattern(w.shape, 11 + 2 * i, 24), pattern(b.shape, 5, 64)
    image.slot_samples[:] = pattern(image.slot_samples.shape, 7, 1 / 8) + 128
    image.slot_classes[:] = [0, 1, 2, 1, 0, 0]
    image.slot_weights[:] = [1, 2, 16, 3, 0, 0]
    image.layer_states["y_max"] = [0, 0.75, 1.5]
    image.class_states["last"] = [5, 3, 1, 0, 0]
    image.class_states["replayed"] = [2, 1, 2, 0, 0]
    image.labels[:3] = [b"one", b"two", "fünf".encode()]
    return image.seal()


def build_q8():
    """Every kind of layer and of weights, rows and inputs without a partner, a stage."""
    train = images.TRAIN_WEIGHTS | images.TRAIN_BIAS
    image = images.network(
        (7, 6, 2),
        [
            images.conv(3, 3, stride=2, padding=1, train=0),  # 4 x 3 x 3
            images.depthwise((3, 1), padding=(1, 0, 1, 0), train=0, activation="relu6"),
            images.conv(3, 1, activation="linear", train=train, eighths=4, step=2.0**-5),
            images.add(1),
            images.depthwise(2, train=train),  # 3 x 2 x 3
            images.max_pool((2, 1), stride=1),  # 2 x 2 x 3
            images.average_pool(2),
            images.dense(7, 5, weight_type=storage.INT8),
            images.dense(5, 3),
        ],
        q8=True,
        input_step=2.0**-6,
        slots=4,
        used=3,
        header={
            "input_offset": 128,
            "input_scale": 1 / 64,
            "input_low": -2,
            "input_high": 2,
            "stage_layers": 2,
            "stage_rows": 2,
        },
        learning_rate=0.125,
    )
    for i, layer in enumerate(image.layers):
        if image.has_weights(i):
            most = 24000 if layer["weight_type"] == storage.INT16 else 90
            shape = images.weight_shape(layer)
            image.set_weights(i, np.round(pattern(shape, 11 + 2 * i, 14) * most))
            image.scales(i, active=False)[:] = 2.0**-6
            if not layer["flags"]:
                image.scales(i)[:] *= pattern(image.scales(i).shape, 3, 28) + 1
            image.bias(i, active=False)[:] = 2**18 + pattern((images.units(layer),), 5, 2**-14)
    image.slot_samples[:] = pattern(image.slot_samples.shape, 7, 1 / 8) + 128
    image.slot_classes[:] = [0, 1, 2, 0]
    image.slot_weights[:] = [1, 2, 16, 0]
    image.layer_states["y_max"] = [0, 0, 0.5, 0, 0.25, 0, 0, 1.5, 0.75]
    image.layer_states["widened"][7] = 1
    image.labels[:3] = [b"one", b"two", b"three"]
    return image.seal()


def build_front():
    """A front end of three layers, strip by strip, with an odd number of features, none of them
    below 0; 4 bits per value."""
    image = images.network(
        (9, 7, 1),
        [
            images.conv(4, 3, stride=2, padding=1, train=0),  # 5 x 4 x 4
            images.max_pool((2, 1)),  # 2 x 4 x 4
            images.dense(27, train=0, step=2.0**-5),
            images.dense(9, 8),
            images.dense(5, 3),
        ],
        q8=True,
        input_step=2.0**-6,
        slots=9,
        packed=True,
        positive=True,
        header={
            "front_layers": 3,
            "stage_layers": 2,
            "stage_rows": 1,
            "input_offset": 128,
            "input_scale": 1 / 64,
            "input_low": -2,
            "input_high": 2,
        },
        learning_rate=0.03125,
        vote=2.0,
    )
    for i in (0, 2, 3, 4):
        wide = image.layers[i]["weight_type"] == storage.INT16
        shape = images.weight_shape(image.layers[i])
        image.set_weights(i, np.round(pattern(shape, 11 + 2 * i, 14) * (24000 if wide else 90)))
        image.scales(i, active=False)[:] = 2.0**-9 if i else 2.0**-7
        image.bias(i, active=False)[:] = 2**16
    image.labels[:3] = [b"one", b"two", b"three"]
    return image.seal()


def expected_front(image):
    return {
        "crc32": zlib.crc32(image.file()),
        "section_crc32": [zlib.crc32(section) for section in image.net],
        "distilled_crc32": trajectory.distil(_tinyinc, image.net),  # as every machine must get it
    }


def samples_q8():
    return [[(41 * i + 29 * j + 3 * j * j) % 256 for j in range(84)] for i in range(4)]


def expected_q8(image):
    """Logits exactly as q8_reference.py has them, in steps of 2^-10."""
    inference = []
    for raw in samples_q8():
        x = np.clip(np.array(raw) - 128, -127, 127)
        network = q8_reference.Q8(image, x, learning=False)
        logits = [network.run(i) for i in range(len(image.layers))][-1]
        powers = np.exp((logits - logits.max()) / 1024)
        inference.append(
            {
                "raw": raw,
                "x": x.tolist(),
                "logits": logits.tolist(),
                "class": int(np.argmax(logits)),
                "probabilities": (powers / powers.sum()).tolist(),
            }
        )
    return {
        "crc32": zlib.crc32(image.file()),
        "section_crc32": [zlib.crc32(section) for section in image.net],
        "training_crc32": trajectory.train(_tinyinc, image.net),  # as every machine must get it
        "inference": inference,
    }


def samples():
    """(raw, target), three classes in turn."""
    return [([(37 * i + 90 * (i % 3) + 50 * j) % 256 for j in range(6)], i % 3) for i in range(3)]


def normalise(raw):
    return np.clip((np.array(raw) - 128) / 64, -2, 2)


def expected(image):
    network = reference.Network(image)
    inference = [
        {
            "raw": raw,
            "x": normalise(raw).tolist(),
            "class": int(np.argmax(network.probabilities(normalise(raw)))),
            "probabilities": network.probabilities(normalise(raw)).tolist(),
        }
        for raw, _ in samples()
    ]
    learning = []
    for raw, target in samples() * (ROUNDS // 3):
        step = network.learn(normalise(raw), target)
        assert step.margin > 1e-4
        learning.append({"raw": raw, "target": target, "loss": float(step.loss)})
    return {
        "crc32": zlib.crc32(image.file()),
        "section_crc32": [zlib.crc32(section) for section in image.net],
        "inference": inference,
        "learning": learning,
    }


def write(name, image, expected):
    (HERE / f"{name}.tinc").write_bytes(image.file())
    (HERE / f"{name}.json").write_text(json.dumps(expected(image), indent=1) + "\n")


if __name__ == "__main__":
    write("golden", build(), expected)
    write("golden_q8", build_q8(), expected_q8)
    write("golden_front", build_front(), expected_front)
