"""The pure-Python engine by itself, on CPython and MicroPython: python3 or micropython <this file>.

Builds a small image with struct, learns from it under every rule, and corrupts every field of it.
"""

import struct
import sys
from array import array

sys.path.insert(0, __file__.rsplit("/", 1)[0] + "/../../micro/tinyinc" if "/" in __file__ else ".")

import pure
from pure import faults, layout

INPUTS, HIDDEN, CLASSES = 4, 12, 3
SLOTS = 6
SECTION_TABLE = 128
LAYER_TABLE = 128 + 4 * 32
RULES = ("full", "static", "tinyprop", "tinyprop2", "sampled")


def pack(fields, **values):
    """A struct with the given fields, the others 0."""
    out = bytearray(layout.size(fields))
    for name, value in values.items():
        layout.write(fields, name, out, 0, value)
    return bytes(out)


def pad(data):
    return data + bytes(-len(data) % 8)


def build(rule=0, classes=CLASSES):
    """A sealed 4-12-3 network of zeros but for hidden weights, with six slots of memory."""
    trained, layers, units = b"", b"", (INPUTS, HIDDEN, CLASSES)
    for index in range(2):
        inputs, outputs = units[index], units[index + 1]
        weights = [((7 * i + index) % 11 - 5) / 10 for i in range(inputs * outputs)]
        bias_offset = len(pad(trained + bytes(4 * inputs * outputs)))
        layers += pack(
            layout.LAYER,
            kind=1,
            activation=1 - index,
            flags=3,
            update_eighths=8,
            rank=1,
            source=0xFFFF,
            input_shape0=inputs,
            input_shape1=1,
            input_shape2=1,
            output_shape0=outputs,
            output_shape1=1,
            output_shape2=1,
            active=classes if index else outputs,
            weights_offset=len(trained),
            bias_offset=bias_offset,
        )
        trained = pad(trained + bytes(array("f", weights)))
        trained = pad(trained + bytes(4 * outputs))
    memory = pack(
        layout.MEMORY_HEADER,
        capacity=SLOTS,
        features=INPUTS,
        stride=INPUTS,
        step=1 / 64,
        offset=-2.0,
        classes_offset=64,
        weights_offset=80,
        samples_offset=96,
    )
    memory = pad(memory + bytes(32 + SLOTS * INPUTS))
    state = pack(
        layout.STATE_HEADER,
        rule=rule,
        label_bytes=8,
        class_capacity=CLASSES,
        generator=12345,
        learning_rate=0.1,
        static_ratio=0.5,
        s_min=0.2,
        s_max=1.0,
        zeta=0.9,
        d_min=0.0,
        d_max=1.0,
        beta=1.0,
        d_threshold=0.05,
        error_threshold=0.5,
        hidden_ratio=0.5,
        input_threshold=0.1,
        layers_offset=128,
        classes_offset=144,
        labels_offset=168,
    )
    state += bytes(16 + 24) + b"zero\0\0\0\0one\0\0\0\0\0two\0\0\0\0\0"
    table, at = b"", LAYER_TABLE + 2 * 96
    for index, section in enumerate((trained, b"", memory, state)):
        table += pack(layout.SECTION, kind=index + 1, flags=1, offset=at, bytes=len(section))
        at += len(section)
    header = pack(
        layout.HEADER,
        magic=b"TINC",
        version_major=1,
        structure_bytes=LAYER_TABLE + 2 * 96,
        file_bytes=at,
        section_count=4,
        layer_count=2,
        input_rank=1,
        input_shape0=INPUTS,
        input_shape1=1,
        input_shape2=1,
        input_shape3=1,
        input_scale=1.0,
        input_low=-1.9,
        input_high=1.9,
    )
    net = tuple(bytearray(s) for s in (header + table + layers, trained, b"", memory, state))
    pure.seal(net)
    return net


def contents(net):
    return [bytes(section) for section in net]


def refused(code, call, *arguments, **numbers):
    """The call raises the text of the code, with these numbers where given."""
    try:
        call(*arguments)
    except ValueError as error:
        text = error.args[0]
    else:
        raise AssertionError("not refused: " + faults.TEXTS[code])
    start = faults.TEXTS[code].split("{")[0]
    assert text.startswith(start), (text, faults.TEXTS[code])
    assert len(text) < 96, text
    if numbers:
        expected = {"where": 0, "found": 0, "expected": 0}
        expected.update(numbers)
        assert text == faults.TEXTS[code].format(**expected), text


def poked(kind, byte, code, value):
    net = build()
    struct.pack_into("<" + code, net[kind], byte, value)
    return net


class Random:
    """The same samples on every Python."""

    def __init__(self, state):
        self.state = state

    def uniform(self):
        self.state = (self.state * 1103515245 + 12345) & 0x3FFFFFFF
        return (self.state >> 8) / (0x3FFFFFFF >> 8)


def sample(random):
    """Points around three corners; the last input is noise, the third often exactly 0."""
    cls = int(random.uniform() * 2.999)
    centre = ((1, 0), (-1, 1), (0, -1))[cls]
    x = [value + 0.8 * (random.uniform() - 0.5) for value in centre]
    x.append(max(0.0, random.uniform() - 0.5))
    x.append(random.uniform() - 0.5)
    return array("f", x), cls


def buffers(net):
    return (
        array("I", bytes(4 * 6)),
        array("f", bytes(12)),
        array("f", bytes(4 * CLASSES)),
        bytearray(pure.scratch_bytes(net)),
    )


def test_layout():
    sizes = (layout.HEADER, 128), (layout.SECTION, 32), (layout.LAYER, 96)
    sizes += (layout.MEMORY_HEADER, 64), (layout.STATE_HEADER, 128)
    for fields, size in sizes:
        assert layout.size(fields) == size
    for code in list(range(-32, 0)) + [faults.COMPILED]:
        assert len(faults.TEXTS[code].format(where="W", found="F", expected="E")) < 96


def test_crc32():
    from pure.image import _crc32_slowly

    for crc in (pure.crc32, _crc32_slowly):
        assert crc(b"123456789") == 0xCBF43926
        assert crc(b"456789", crc(b"123")) == 0xCBF43926


def test_learn_every_rule():
    for rule, name in enumerate(RULES):
        net = build(rule)
        pure.check(net)
        counts, figures, probabilities, scratch = buffers(net)
        random = Random(1)
        lessons, skipped, last = 500, 0, [0] * CLASSES
        for lesson in range(1, lessons + 1):
            x, cls = sample(random)
            last[cls] = lesson
            pure.learn(net, x, cls, counts, figures, scratch)
            skipped += counts[0]
            assert figures[0] >= 0 and 0 <= figures[1] <= 2
            assert 0 < counts[2] <= 4 * 12 + 12 * 3
            if counts[0]:
                assert counts[3] == counts[4] == counts[5] == 0
        right = 0
        for _ in range(200):
            x, cls = sample(random)
            right += pure.infer(net, x, probabilities, scratch) == cls
            assert abs(sum(probabilities) - 1) < 1e-5
        assert right >= 194, (name, right)
        _, found_lessons, trained = struct.unpack_from("<3I", net[4], 8)
        assert found_lessons == lessons and trained == lessons - skipped
        assert (skipped > 0) == (name in ("tinyprop2", "sampled")), (name, skipped)
        assert [struct.unpack_from("<I", net[4], 144 + 8 * c)[0] for c in range(3)] == last
        y_max = struct.unpack_from("<f", net[4], 128 + 8)[0]
        assert (y_max > 0) == (name in ("tinyprop", "tinyprop2"))
        pure.seal(net)
        pure.check(net)


def test_gradient():
    """One step of rule full moves each tensor by -rate times the slope of the loss."""
    net = build()
    counts, figures, _, scratch = buffers(net)
    x = array("f", [0.5, -1, 0.25, 0])

    def loss(net):
        other = tuple(bytearray(section) for section in net)
        pure.learn(other, x, 1, counts, figures, scratch)
        return figures[0]

    before = [bytearray(section) for section in net]
    pure.learn(net, x, 1, counts, figures, scratch)
    assert list(counts)[2:] == [12 * 4 + 3 * 12, 3 * 12 * 2 + counts_alive(before, x) * 4, 12, 3]
    for byte in range(0, len(net[1]), 20):
        old = struct.unpack_from("<f", before[1], byte)[0]
        new = struct.unpack_from("<f", net[1], byte)[0]
        losses = []
        for nudge in (1 / 64, -1 / 64):
            struct.pack_into("<f", before[1], byte, old + nudge)
            losses.append(loss(before))
        struct.pack_into("<f", before[1], byte, old)
        slope = (losses[0] - losses[1]) * 32
        assert abs((old - new) / 0.1 - slope) < 2e-3, (byte, (old - new) / 0.1, slope)


def counts_alive(net, x):
    """Hidden units that x switches on: those whose rows a full step updates."""
    alive = 0
    for unit in range(HIDDEN):
        row = struct.unpack_from("<4f", net[1], 16 * unit)
        alive += sum([w * v for w, v in zip(row, x)]) > 0
    assert 2 * alive > HIDDEN  # else the step takes the gathering path
    return alive


def test_samples():
    net = build()
    x = array("f", bytes(16))
    pure.normalise(net, array("b", [-128, 0, 1, 127]), x)
    assert [round(value, 3) for value in x] == [-1.9, 0, 1, 1.9]
    pure.normalise(net, array("h", [-300, 0, 1, 127]), x)
    pure.normalise(net, b"\0\1\2\3", x)
    pure.normalise(net, memoryview(array("f", [0, 0.5, 1, -1])), x)
    assert list(x) == [0, 0.5, 1, -1]
    values = (faults.SAMPLE_SIZE, pure.normalise, net)
    refused(*values, bytes(3), x, found=3, expected=4)
    refused(faults.SAMPLE_TYPE, pure.normalise, net, array("i", [0] * 4), x)
    refused(faults.SAMPLE_TYPE, pure.normalise, net, [0, 0, 0, 0], x)
    for bad in ("nan", "inf", "-inf"):
        raw = array("f", [0, 0, float(bad), 0])
        refused(faults.SAMPLE_VALUE, pure.normalise, net, raw, x, where=2)
    assert list(x) == [0, 0.5, 1, -1]


def test_arguments():
    net = build()
    counts, figures, probabilities, scratch = buffers(net)
    x = array("f", bytes(16))
    before = contents(net)

    def learn(net=net, x=x, target=0, counts=counts, figures=figures, scratch=scratch):
        return pure.learn(net, x, target, counts, figures, scratch)

    refused(faults.CLASS, lambda: learn(target=3), found=3, expected=3)
    refused(faults.CLASS, lambda: learn(target=-1))
    refused(faults.CLASS, pure.infer, build(classes=0), x, probabilities, scratch)
    refused(faults.ARGUMENT, lambda: learn(x=array("f", bytes(12))), where=2, found=3, expected=4)
    refused(faults.ARGUMENT_TYPE, lambda: learn(x=[0.0] * 4), where=2, expected="f")
    refused(
        faults.ARGUMENT, lambda: learn(counts=array("I", [0] * 5)), where=4, found=5, expected=6
    )
    refused(faults.ARGUMENT, lambda: learn(net=net[:4]), where=1, found=4, expected=5)
    refused(faults.SCRATCH, lambda: learn(scratch=bytearray(7)))
    refused(faults.BUSY, lambda: learn(scratch=bytearray(b"\1" * len(scratch))))
    huge = poked(1, 0, "f", 1e38)
    huge_x = array("f", [1e25] * 4)
    for byte in range(0, len(huge[1]), 4):
        struct.pack_into("<f", huge[1], byte, 1e38)
    saved = contents(huge)
    refused(faults.DIVERGED, pure.infer, huge, huge_x, probabilities, scratch)
    assert learn(net=huge, x=huge_x) is False
    assert contents(huge) == saved and scratch[0] == 0
    try:
        learn(net=net[:4] + (bytes(net[4]),))
    except TypeError:
        pass
    else:
        raise AssertionError("wrote to bytes")
    assert contents(net) == before


def test_kernels():
    out = array("f", bytes(16))
    pure.matmul(out, array("f", range(6)), array("f", range(6)), 2, 3, 2)
    assert list(out) == [10, 13, 28, 40]
    refused(faults.ARGUMENT, pure.matmul, out, out, out, 2, 3, 2)
    indices = array("H", bytes(10))
    values = array("f", [1, -3, 0, 3, 2, 0])
    for k, expected in ((1, [1]), (2, [1, 3]), (3, [1, 3, 4]), (5, [0, 1, 3, 4])):
        assert pure.topk(values, k, indices) == len(expected)
        assert list(indices)[: len(expected)] == expected
    refused(faults.ARGUMENT, pure.topk, values, 0, indices)
    refused(faults.ARGUMENT, pure.topk, values, 7, indices)
    refused(faults.ARGUMENT, pure.topk, values, 6, indices)


def test_resize():
    net = build(classes=0)
    _, _, probabilities, scratch = buffers(net)
    refused(faults.CAPACITY, pure.grow, net, 1, 4, where=1, found=4, expected=3)
    pure.grow(net, 1, 2)
    struct.pack_into("<II", net[4], 144, 9, 7)  # last, replayed of class 0
    struct.pack_into("<II", net[4], 152, 9, 5)
    pure.grow(net, 1, 1)
    assert struct.unpack_from("<II", net[4], 160) == (0, 5)
    refused(faults.CAPACITY, pure.grow, net, 1, 1)
    x = array("f", [1, 1, 1, 1])
    pure.infer(net, x, probabilities, scratch)
    assert [round(p, 5) for p in probabilities] == [0.33333] * 3

    net = build()
    expected = []
    for _ in range(3):
        unit = pure.least_useful(net, 0)
        pure.infer(net, x, probabilities, scratch)
        expected.append(list(probabilities))
        pure.shrink(net, 0, unit)
    assert struct.unpack_from("<I", net[0], LAYER_TABLE + 48)[0] == 9
    generator = struct.unpack_from("<I", net[4], 8)[0]
    pure.grow(net, 0, 3)
    assert struct.unpack_from("<I", net[4], 8)[0] != generator
    bound = (6 / 4) ** 0.5
    for unit in range(9, 12):
        row = struct.unpack_from("<4f", net[1], 16 * unit)
        assert min(row) >= -bound and max(row) <= bound and len(set(row)) == 4
    refused(faults.UNIT, pure.shrink, net, 0, 12, found=12, expected=12)
    refused(faults.LAYER, pure.grow, net, 2, 1, where=2, found=2, expected=2)
    refused(faults.LAYER, pure.least_useful, net, 1)
    refused(faults.LAYER, pure.least_useful, net, -1)
    pure.seal(net)
    pure.check(net)


def test_memory():
    net = build()
    x, q = array("f", bytes(16)), bytearray(4)
    distance = array("I", [0])
    assert pure.choose(net) == -1 and pure.nearest(net, q, -1, distance) == -1
    refused(faults.SLOT, pure.recall, net, 0, x, found=0, expected=0)
    for slot in range(SLOTS):
        pure.quantise(net, array("f", [slot / 8, -slot / 8, 9, -9]), q)
        assert list(q) == [128 + 8 * slot, 128 - 8 * slot, 255, 0]
        pure.remember(net, slot, q, slot % 3)
    refused(faults.SLOT, pure.remember, net, SLOTS, q, 0, found=6, expected=6)
    refused(faults.CLASS, pure.remember, net, 0, q, 3, found=3, expected=3)
    assert pure.recall(net, 4, x) == 1
    assert list(x) == [0.5, -0.5, 255 / 64 - 2, -2]
    chosen = [pure.recall(net, pure.choose(net, 1), x) for _ in range(6)]
    assert chosen == [0, 2, 0, 2, 0, 2]
    assert [pure.recall(net, pure.choose(net), x) for _ in range(3)] == [0, 1, 2]  # none lags
    q = bytearray([128 + 17, 128 - 16, 255, 0])
    assert pure.nearest(net, q, -1, distance) == 2 and distance[0] == 1
    assert pure.nearest(net, q, 0, distance) == 3 and distance[0] == 7 * 7 + 8 * 8
    pure.move(net, 2, bytearray([128 + 20, 128 - 20, 255, 0]))
    weight = struct.unpack_from("<H", net[3], 80 + 4)[0]
    assert weight == 2 and list(net[3][96 + 8 : 96 + 12]) == [146, 110, 255, 0]
    for _ in range(600):
        pure.move(net, 2, b"\0\0\0\0")
    assert struct.unpack_from("<H", net[3], 80 + 4)[0] == 64
    assert max(net[3][96 + 8 : 96 + 12]) <= 1
    pure.shrink(net, 1, 0)  # class 2 becomes class 0; its two slots stay, those of class 0 go
    assert struct.unpack_from("<I", net[3], 4)[0] == 4
    classes = [pure.recall(net, slot, x) for slot in range(4)]
    assert sorted(classes) == [0, 0, 1, 1]
    assert bytes(net[4][168:171]) == b"two"
    pure.seal(net)
    pure.check(net)


def wrong_values(code, low, high):
    """Values of a struct format that bounds forbid."""
    if code[-1] == "s":
        size = int(code[:-1])
        return [b"\1" + bytes(size - 1), bytes(size - 1) + b"\x80"] if low == 0 else []
    if code == "f":
        wrong = [float("nan"), float("inf"), float("-inf")]
        wrong += [] if low is None else [low - 0.01 if low > -1e6 else low * 1.01]
        wrong += [] if high is None else [high * 1.01]
        return wrong
    most = {"B": 0xFF, "H": 0xFFFF, "I": 0xFFFFFFFF}[code]
    wrong = [low - 1] if low else []
    return wrong + ([high + 1, most] if high is not None and high < most else [])


def test_every_field_is_checked():
    """Out-of-range values of every field in the tables, in every struct of the image."""
    tables = [(0, 0, layout.HEADER), (3, 0, layout.MEMORY_HEADER), (4, 0, layout.STATE_HEADER)]
    tables += [(0, SECTION_TABLE + 32 * index, layout.SECTION) for index in range(4)]
    tables += [(0, LAYER_TABLE + 96 * index, layout.LAYER) for index in range(2)]
    tried = 0
    for kind, base, fields in tables:
        for name, code, low, high in fields:
            for value in wrong_values(code, low, high):
                net = poked(kind, base + layout.byte_of(fields, name), code, value)
                try:
                    pure.scratch_bytes(net)
                except ValueError as error:
                    assert len(error.args[0]) < 96
                    tried += 1
                    continue
                raise AssertionError((kind, base, name, value))
    assert tried > 200, tried


def test_field_relations():
    """Values that are wrong only because of others."""
    at = layout.byte_of
    head, memory, state = layout.HEADER, layout.MEMORY_HEADER, layout.STATE_HEADER
    layer = LAYER_TABLE + 96
    cases = (
        (faults.MAGIC, 0, 0, "I", 0),
        (faults.VERSION, 0, at(head, "version_major"), "H", 2),
        (faults.COMPILED, 0, at(head, "format"), "B", 1),
        (faults.FORMAT, 0, at(head, "format"), "B", 2),
        (faults.HEADER, 0, at(head, "head"), "B", 1),
        (faults.HEADER, 0, at(head, "structure_bytes"), "I", 456),
        (faults.HEADER, 0, at(head, "file_bytes"), "I", 441),
        (faults.HEADER, 0, at(head, "file_bytes"), "I", 8),
        (faults.SECTION, 0, at(head, "file_bytes"), "I", 456),
        (faults.HEADER, 0, at(head, "section_count"), "B", 5),
        (faults.HEADER, 0, at(head, "layer_count"), "B", 1),
        (faults.HEADER, 0, at(head, "input_shape1"), "I", 2),
        (faults.LAYER_CHAIN, 0, at(head, "input_shape0"), "I", 5),
        (faults.HEADER, 0, at(head, "input_scale"), "f", 0.0),
        (faults.HEADER, 0, at(head, "input_low"), "f", 1.95),
        (faults.HEADER, 0, at(head, "stage_layers"), "B", 2),
        (faults.HEADER, 0, at(head, "stage_rows"), "H", 1),
        (faults.HEADER, 0, at(head, "front_layers"), "B", 2),
        (faults.FRONT, 0, at(head, "front_layers"), "B", 1),
        (faults.STAGE, 0, at(head, "stage_layers"), "B", 1),
        (faults.SECTION, 0, SECTION_TABLE, "I", 0),
        (faults.SECTION, 0, SECTION_TABLE, "I", 2),
        (faults.SECTION, 0, SECTION_TABLE, "I", 5),  # the flag says it is required
        (faults.SECTION, 0, SECTION_TABLE + 8, "I", 440),
        (faults.SECTION, 0, SECTION_TABLE + 8, "I", 449),
        (faults.SECTION, 0, SECTION_TABLE + 12, "I", 1 << 31),
        (faults.SECTION, 0, SECTION_TABLE + 12, "I", 0xFFFFFFF8),
        (faults.LAYER_KIND, 0, layer, "B", 2),  # the last is dense
        (faults.LAYER_KIND, 0, LAYER_TABLE, "B", 7),
        (faults.COMPILED, 0, LAYER_TABLE, "B", 2),
        (faults.COMPILED, 0, LAYER_TABLE, "B", 6),
        (faults.COMPILED, 0, LAYER_TABLE + 1, "B", 2),
        (faults.COMPILED, 0, layer + 3, "B", 4),
        (faults.LAYER_FIELD, 0, layer + 3, "B", 0),
        (faults.LAYER_FIELD, 0, layer + 3, "B", 3),
        (faults.LAYER_FIELD, 0, layer + 1, "B", 1),
        (faults.LAYER_BOUNDS, 0, layer + 2, "B", 0),  # the frozen section is empty
        (faults.LAYER_CHAIN, 0, layer + 24, "I", 11),
        (faults.LAYER_BOUNDS, 0, layer + 36, "I", 65535),
        (faults.LAYER_FIELD, 0, layer + 48, "I", 4),
        (faults.LAYER_FIELD, 0, LAYER_TABLE + 48, "I", 13),
        (faults.LAYER_BOUNDS, 0, layer + 52, "I", 4),
        (faults.LAYER_BOUNDS, 0, layer + 52, "I", 0xFFFFFFF8),
        (faults.LAYER_BOUNDS, 0, layer + 56, "I", 0xFFFFFFF8),
        (faults.MEMORY, 3, at(memory, "count"), "I", SLOTS + 1),
        (faults.MEMORY, 3, at(memory, "capacity"), "I", 65535),
        (faults.MEMORY, 3, at(memory, "features"), "I", 3),
        (faults.MEMORY, 3, at(memory, "stride"), "I", 3),
        (faults.MEMORY, 3, at(memory, "stride"), "I", 131070),
        (faults.STATE, 4, at(state, "label_bytes"), "B", 6),
        (faults.STATE, 4, at(state, "class_capacity"), "I", 4),
        (faults.STATE, 4, 128, "f", -1.0),
        (faults.STATE, 4, 128, "f", float("nan")),
        (faults.STATE, 4, 132, "I", 1),
    )
    for code, kind, byte, form, value in cases:
        if code == faults.SECTION and value == 5:
            code = faults.SECTION_UNKNOWN
        refused(code, pure.check, poked(kind, byte, form, value))
    for kind, fields, code in ((3, memory, faults.MEMORY), (4, state, faults.STATE)):
        for name in [f[0] for f in fields if f[0].endswith("s_offset")]:
            for value in (0, 100, 0x10000, 0xFFFFFFF8):
                refused(code, pure.check, poked(kind, at(fields, name), "I", value))


def test_damage():
    net = build()
    pure.check_structure(net[0])
    refused(faults.TRUNCATED, pure.check_structure, net[0][:100], found=100, expected=128)
    refused(faults.TRUNCATED, pure.check_structure, net[0][:-8], found=440, expected=448)
    short = net[:1] + (net[1][:-8],) + net[2:]
    refused(faults.SECTION_BYTES, pure.check, short)
    refused(
        faults.STRUCTURE_CRC, pure.check, poked(0, layout.byte_of(layout.HEADER, "lineage"), "B", 1)
    )
    refused(faults.SECTION_CRC, pure.check, poked(1, 8, "f", 0.125), where=1)
    refused(faults.SECTION_CRC, pure.check, poked(3, 70, "B", 1), where=3)
    refused(faults.SECTION_CRC, pure.check, poked(4, 170, "B", 1), where=4)
    for bad in (float("nan"), float("inf")):
        net = poked(1, 8, "f", bad)
        pure.seal(net)
        refused(faults.VALUE, pure.check, net, found=2)
    net = build()
    pure.remember(net, 0, bytes(4), 2)
    struct.pack_into("<H", net[3], 64, 3)
    pure.seal(net)
    refused(faults.CLASS, pure.check, net, found=3, expected=3)


def test_extensions():
    """An unknown section is left alone when optional; another minor version is read."""
    net = build()
    structure = bytearray(net[0][:LAYER_TABLE])
    file_bytes = struct.unpack_from("<I", structure, 16)[0] + 32
    structure += pack(layout.SECTION, kind=77, offset=file_bytes, bytes=8, crc=99)
    structure += net[0][LAYER_TABLE:]
    for name, value in (
        ("structure_bytes", len(structure)),
        ("section_count", 5),
        ("file_bytes", file_bytes + 8),
        ("version_minor", 3),
    ):
        layout.write(layout.HEADER, name, structure, 0, value)
    for index in range(4):
        base = SECTION_TABLE + 32 * index
        offset = struct.unpack_from("<I", structure, base + 8)[0]
        layout.write(layout.SECTION, "offset", structure, base, offset + 32)
    net = (structure,) + net[1:]
    pure.seal(net)
    pure.check(net)
    layout.write(layout.SECTION, "flags", structure, LAYER_TABLE, 1)
    refused(faults.SECTION_UNKNOWN, pure.check, net, where=4, found=77, expected=4)


for test in (
    test_layout,
    test_crc32,
    test_samples,
    test_arguments,
    test_kernels,
    test_gradient,
    test_learn_every_rule,
    test_resize,
    test_memory,
    test_every_field_is_checked,
    test_field_relations,
    test_damage,
    test_extensions,
):
    test()
    print("ok", test.__name__)
print("PASS")
