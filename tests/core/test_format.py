"""The image format: what is refused and how it is said, and the golden file that pins it."""

import json
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import driver as calls
import images
from driver import Driver, floats
from images import FROZEN, MEMORY, READ_ONLY, REQUIRED, STATE, STRUCTURE, TRAINED

VECTORS = Path(__file__).parent.parent / "vectors"
BAD_FLOATS = [np.nan, np.inf, -np.inf]
BEYOND = [2**31, 2**32 - 8]  # offsets past the end and past int32
# How a text may name a field other than by its byte.
WORDS = {
    "magic": "TINC",
    "version_major": "version",
    "structure_bytes": "bytes|size",
    "kind": "kind",
    "format": "format",
    "head": "format|head",
    "input_high": "byte 72",
    "capacity": "byte",
}


def image():
    """Everything in use: a frozen tensor, a memory, capacity to spare."""
    made = images.build((6, 8, 5), (5, 3), flags=(2, 3), slots=9, used=5, header={"sequence": 3})
    made.layer_states["y_max"] = [1.5, 2.5]
    return made.seal()


def refused(engine, net, text, everywhere=True):
    """check() refuses and, where everywhere is set, so do other calls; nothing has changed."""
    before = [bytes(section) for section in net]
    with pytest.raises(ValueError, match=text):
        engine.check(net)
    if everywhere:
        with pytest.raises(ValueError, match=text):
            engine.infer(net, floats([0] * 6), floats([0] * 8), bytearray(4096))
        with pytest.raises(ValueError, match=text):
            engine.choose(net, -1)
    assert [bytes(section) for section in net] == before


def cases(*tables):
    return [
        pytest.param(record, field, value, id=f"{record}.{field}={value}")
        for record, fields in tables
        for field, values in fields.items()
        for value in values
    ]


HEADER_CASES = {
    "magic": [b"TINX", b"tinc", b""],
    "version_major": [0, 2, 65535],
    "structure_bytes": [0, 128, 8 + 448, 448 - 4, 2**32 - 8],
    "file_bytes": [0, 8, 2**31, 2**32 - 1],
    "format": [2, 255],
    "head": [1, 2, 3],
    "section_count": [0, 3, 5, 17, 255],
    "layer_count": [0, 1, 3, 33, 255],
    "input_type": [1, 255],
    "normalisation": [1, 255],
    "optimiser": [1, 255],
    "input_rank": [0, 5],
    "input_shape": [
        (0, 1, 1, 1),
        (7, 1, 1, 1),
        (3, 2, 1, 1),
        (65536, 65536, 1, 1),
        (65536, 1, 1, 1),
        (6, 1, 1, 0),
    ],
    "input_offset": BAD_FLOATS,
    "input_scale": [0, *BAD_FLOATS],
    "input_low": [100, 101, *BAD_FLOATS],
    "input_high": [-100, *BAD_FLOATS],
    "input_step": [1.0],
    "input_zero_point": [-1],
    "stage_layers": [1, 2, 255],
    "front_layers": [1, 2, 255],
    "stage_rows": [1, 65535],
    "reserved": [[0] * 35 + [1]],
}
LAYER_CASES = {
    "kind": [0, 2, 255],
    "flags": [4, 255],
    "update_eighths": [0, 3, 7, 9, 16],
    "weight_type": [1, 2, 3, 4],
    "bias_type": [1, 2],
    "optimiser_slots": [1],
    "rank": [0, 2],
    "kernel": [(0, 1)],
    "stride": [(1, 1)],
    "padding": [(0, 0, 0, 1)],
    "dilation": [(0, 1)],
    "source": [0, 1],
    "groups": [1],
    "input_shape": [(0, 1, 1), (9, 1, 1), (5, 1, 1), (8, 2, 1), (8, 1, 0), (2**31, 1, 1)],
    "output_shape": [(0, 1, 1), (65536, 1, 1), (2**32 - 1, 1, 1), (5, 2, 1), (5, 1, 0), (40, 1, 1)],
    "active": [6, 2**32 - 1],
    "weights_offset": [4, 1, 64, *BEYOND],
    "bias_offset": [4, 2, 200, *BEYOND],
    "scales_offset": [8],
    "slots_offset": [8],
    "masks_offset": [8],
    "output_step": [1.0],
    "output_zero_point": [1],
    "reserved": [(0, 0, 0, 1)],
}
SECTION_CASES = {
    "kind": [0, 1, 3, 4, 2**31],
    "flags": [4, 2**31],
    "offset": [0, 8, 4, 2**31, 2**32 - 8],
    "bytes": [4, 2**31, 2**32 - 8, 2**32 - 1],
    "reserved": [(0, 0, 1)],
}
MEMORY_CASES = {
    "capacity": [4, 65536, 2**31, 40],
    "count": [10, 2**32 - 1],
    "features": [0, 5, 7],
    "stride": [0, 5, 2**16, 2**31],
    "element_type": [2, 3, 255],
    "soft_labels": [1],
    "reserved16": [1],
    "step": [0, -1, *BAD_FLOATS],
    "offset": BAD_FLOATS,
    **dict.fromkeys(
        ["classes_offset", "weights_offset", "samples_offset"], (0, 32, 65, 68, 160, *BEYOND)
    ),
    "soft_offset": [8],
    "reserved": [(0, 0, 0, 0, 1)],
}
RATIO = [-0.01, 1.01, *BAD_FLOATS]
STATE_CASES = {
    "rule": [5, 255],
    "label_type": [2, 255],
    "label_bytes": [0, 3, 6, 68, 255],
    "class_capacity": [0, 4, 6, 2**31],
    "generator": [0],
    "learning_rate": [0, -1, 10.1, *BAD_FLOATS],
    **dict.fromkeys(["static_ratio", "s_min", "s_max", "zeta", "d_min", "d_max"], RATIO),
    "beta": [-0.01, 10.1, *BAD_FLOATS],
    "d_threshold": [-0.01, 10.1, *BAD_FLOATS],
    "error_threshold": [0, -1, *BAD_FLOATS],
    "hidden_ratio": RATIO,
    "input_threshold": RATIO,
    "rates": [(0, 1)],
    **dict.fromkeys(
        ["layers_offset", "classes_offset", "labels_offset"], (0, 64, 129, 132, 240, *BEYOND)
    ),
    "vote": [-0.01, 101, *BAD_FLOATS],
    "logit_adjustment": [-0.01, 20.1, *BAD_FLOATS],
    "novelty": [-0.01, 1.1e6, *BAD_FLOATS],
    "growth": [65536, 2**32 - 1],
    "label_smoothing": RATIO,
    "reserved": [[0] * 2 + [1]],
}
RECORDS = {  # how a record is reached, its dtype, and how texts name it
    "header": (lambda im: im.header, images.HEADER, "image|header|structure"),
    "section1": (lambda im: im.table[1], images.SECTION, "section|entry"),
    "layer0": (lambda im: im.layers[0], images.LAYER, "layer 0"),
    "layer1": (lambda im: im.layers[1], images.LAYER, "layer 1"),
    "memory": (lambda im: im.memory, images.MEMORY_HEADER, "memory|section 3"),
    "state": (lambda im: im.state, images.STATE_HEADER, "settings|state|section 4"),
}
SPARE = {
    "reserved",
    "reserved16",
    "front_layers",
    "stage_layers",
    "kernel",
    "stride",
    "padding",
    "dilation",
    "scales_offset",
    "slots_offset",
    "masks_offset",
    "output_step",
    "output_zero_point",
    "input_step",
    "input_zero_point",
    "soft_offset",
    "soft_labels",
    "rates",
}  # not in use: the record will do
CHAINED = {
    ("header", "input_shape"),
    ("header", "format"),
    ("header", "layer_count"),
    ("header", "front_layers"),
    ("header", "stage_layers"),
    ("header", "section_count"),
    ("layer1", "input_shape"),
    ("layer1", "output_shape"),
    ("layer1", "weights_offset"),
    ("layer1", "bias_offset"),
    ("header", "file_bytes"),
}  # another record may notice first


def named(record, field):
    """A pattern for the byte of a field, or for a word that says the same."""
    dtype, offset = RECORDS[record][1].fields[field][:2]
    numbers = "|".join(str(offset + i) for i in range(dtype.itemsize))
    return rf"byte ({numbers})\b|{WORDS.get(field, field)}"


@pytest.mark.parametrize(
    "record, field, value",
    cases(
        ("header", HEADER_CASES),
        ("layer1", LAYER_CASES),
        ("section1", SECTION_CASES),
        ("memory", MEMORY_CASES),
        ("state", STATE_CASES),
        ("layer0", {"active": [9], "activation": [0, 3]}),
        ("layer1", {"activation": [1, 2]}),
    ),
)
def test_field_out_of_range(engine, record, field, value):
    made = image()
    reach, _, owner = RECORDS[record]
    crc_of = made.seal if record in ("memory", "state") else made.seal_structure
    reach(made)[field] = value
    crc_of()
    text = owner
    if field not in SPARE and record != "section1" and (record, field) not in CHAINED:
        text = f"(?=.*({owner}))(?=.*({named(record, field)}))"
    if (record, field) in CHAINED:
        text = "header|layer|section|structure|image"
    refused(engine, made.net, text)


@pytest.mark.parametrize(
    "record, field, value",
    cases(
        (
            "header",
            {
                "version_minor": [1, 65535],
                "sequence": [0, 2**32 - 1],
                "lineage": [[0] * 16, [255] * 16],
                "input_rank": [4],
            },
        ),
        ("layer0", {"active": [0, 1, 8], "update_eighths": [0, 8]}),
        ("layer1", {"active": [0, 1, 5], "flags": [3]}),
        ("section1", {"flags": [0, READ_ONLY, REQUIRED | READ_ONLY]}),
        ("memory", {"count": [0, 1], "step": [1e-3, 100], "offset": [0, -100]}),
        (
            "state",
            {
                "rule": range(5),
                "replay": [0, 255],
                "generator": [1, 2**32 - 1],
                "learning_rate": [1e-6, 10],
                "static_ratio": [0, 1],
                "s_max": [0, 1],
                "beta": [0, 10],
                "d_threshold": [0, 10],
                "error_threshold": [1e-3, 100],
            },
        ),
    ),
)
def test_field_at_its_bounds(engine, record, field, value):
    made = image()
    if (record, field) == ("layer1", "active"):
        made.memory["count"], made.slot_classes[:] = min(value, 5), 0
    RECORDS[record][0](made)[field] = value
    engine.check(made.seal().net)


@pytest.mark.parametrize("label_type", [0, 1])
@pytest.mark.parametrize("width", [4, 8])
def test_label_slots(engine, label_type, width):
    made = image()
    made.state["label_type"], made.state["label_bytes"] = label_type, width
    engine.check(made.seal().net)


@pytest.mark.parametrize("field, value", [("learning_rate", -0.0), ("s_min", -0.0), ("beta", -0.0)])
def test_minus_zero_is_zero(engine, field, value):
    made = image()
    made.state[field] = value
    if field == "learning_rate":
        refused(engine, made.seal().net, "settings: byte 20", everywhere=False)
    else:
        engine.check(made.seal().net)


@pytest.mark.parametrize("value", [*BAD_FLOATS, -1])
def test_y_max_is_checked(engine, value):
    made = image()
    made.layer_states["y_max"][1] = value
    refused(engine, made.seal().net, "settings|state|section 4", everywhere=False)


@pytest.mark.parametrize("value", BAD_FLOATS)
@pytest.mark.parametrize(
    "tensor, layer", [("weights", 0), ("bias", 0), ("weights", 1), ("bias", 1)]
)
def test_every_weight_is_finite(engine, tensor, layer, value):
    """Also those beyond the active units."""
    made = image()
    getattr(made, tensor)(layer, active=False)[-1] = value
    refused(engine, made.seal().net, f"layer {layer}|section [12]", everywhere=False)


@pytest.mark.parametrize("cls", [3, 65535])
def test_every_slot_has_a_class_in_use(engine, cls):
    made = image()
    made.slot_classes[5] = cls  # a free slot: no matter
    engine.check(made.seal().net)
    made.slot_classes[4] = cls
    refused(engine, made.seal().net, "class|memory", everywhere=False)


@pytest.mark.parametrize("size", [0, 1, 127, 128, 256, 447])
def test_truncated_structure(engine, size):
    made = image()
    net = (made.net[STRUCTURE][:size], *made.net[1:])
    refused(engine, net, "bytes|short")
    with pytest.raises(ValueError, match="bytes|short"):
        engine.check_structure(net[STRUCTURE])


@pytest.mark.parametrize("kind", [TRAINED, FROZEN, MEMORY, STATE])
@pytest.mark.parametrize("change", [-8, -1, 1, 8, None])
def test_section_of_another_size(engine, kind, change):
    net = list(image().net)
    net[kind] = net[kind][:change] if change and change < 0 else net[kind] + bytes(change or 0)
    if change is None:
        net[kind] = bytearray()
    refused(engine, net, rf"section {kind}\b.*\d")


@pytest.mark.parametrize("kind", [STRUCTURE, TRAINED, FROZEN, MEMORY, STATE])
@pytest.mark.parametrize("shift", [1, 2, 4])
def test_misaligned_base(c_engine, kind, shift):
    net = list(image().net)
    room = bytearray(len(net[kind]) + 8)
    room[shift : shift + len(net[kind])] = net[kind]
    net[kind] = memoryview(room)[shift : shift + len(net[kind])]
    refused(c_engine, tuple(net), rf"{kind}\b.*(align|multiple of 8)")


def test_a_tuple_of_another_length(engine):
    with pytest.raises((ValueError, TypeError)):
        engine.check(image().net[:4])


def test_every_flipped_bit_of_the_structure_is_noticed(engine):
    made = image()
    structure = made.net[STRUCTURE]
    for position in range(8 * len(structure)):
        structure[position // 8] ^= 1 << position % 8
        with pytest.raises(ValueError):
            engine.check(made.net)
        structure[position // 8] ^= 1 << position % 8
    engine.check(made.net)


@pytest.mark.parametrize("kind", [TRAINED, FROZEN, MEMORY, STATE])
def test_every_flipped_bit_of_a_section_is_noticed(engine, kind):
    made = image()
    for position in range(0, 8 * len(made.net[kind]), 13):
        made.net[kind][position // 8] ^= 1 << position % 8
        with pytest.raises(ValueError):
            engine.check(made.net)
        made.net[kind][position // 8] ^= 1 << position % 8
    made.net[kind][-1] ^= 1
    refused(engine, made.net, f"section {kind}.*CRC|CRC.*section {kind}", everywhere=False)


def guarded(net):
    """Copies of the sections with known bytes around them, and a check that these still stand."""
    rooms = [bytearray(b"\xa5" * 64 + bytes(section) + b"\x5a" * 64) for section in net]

    def assert_intact():
        for room in rooms:
            assert room[:64] == b"\xa5" * 64 and room[-64:] == b"\x5a" * 64

    return tuple(memoryview(room)[64:-64] for room in rooms), assert_intact


def exercise(engine, net):
    """Every call once; each may refuse, none may leave its bounds. Returns how many did not."""
    made, done = images.Image(net), 0
    inputs, layers = 6, len(made.layers)
    classes = made.classes

    def attempt(call, *arguments, within=None):
        nonlocal done
        try:
            value = call(*arguments)
        except ValueError:
            return None
        done += 1
        assert within is None or value in within
        return value

    user, ones = Driver(engine, made), np.ones(inputs)
    x = attempt(user.normalise, bytes(range(inputs)))
    assert x is None or np.isfinite(x).all()
    result = attempt(user.infer, ones)
    assert result is None or (result[0] in range(classes) and np.isfinite(result[1]).all())
    report = attempt(user.learn, ones, 0)
    assert report is None or (report.predicted < classes and np.isfinite(report.loss))
    for layer in range(layers):
        attempt(engine.least_useful, net, layer, within=range(made.active(layer)))
    if len(net[MEMORY]):
        slots = range(-1, int(made.memory["count"]))
        attempt(engine.choose, net, -1, within=slots)
        nearest = attempt(user.nearest, [0] * inputs)
        assert nearest is None or nearest[0] in slots
        attempt(user.recall, 0)
        attempt(engine.remember, net, int(made.memory["count"]), bytes(inputs), 0)
        attempt(engine.move, net, 0, b"\xff" * inputs)
    for layer in range(layers):
        attempt(engine.grow, net, layer, 1)
        attempt(engine.shrink, net, layer, 0)
    attempt(engine.seal, net)
    return done


@pytest.mark.parametrize("kind", [STRUCTURE, MEMORY, STATE])
def test_flipped_bits_with_good_crcs_are_refused_or_harmless(engine, kind):
    """As a hostile file would have them."""
    original, accepted = image(), 0
    stride = 1 if calls.is_c(engine) else 7
    for position in range(0, 8 * len(original.net[kind]), stride):
        made = original.copy()
        made.net[kind][position // 8] ^= 1 << position % 8
        if kind != STRUCTURE:
            made.seal()
        net, assert_intact = guarded(made.seal_structure().net)
        try:
            engine.check(net)
        except ValueError:
            continue
        accepted += exercise(engine, net) > 0
        assert_intact()
    assert accepted > 10


def test_unknown_sections(engine):
    """An optional one is preserved, a required one refused."""
    body = b"something new..."
    made = images.build((6, 8, 5), extensions=[(77, READ_ONLY, body), (9, 0, b"")])
    entry = bytes(made.table[4:6])
    engine.check(made.net)
    engine.seal(made.net)
    assert bytes(made.table[4:6]) == entry
    made = images.build((6, 8, 5), extensions=[(77, REQUIRED, body)])
    refused(engine, made.net, r"entry 4\b.*kind 77\b")


def test_sections_in_another_order(engine):
    """The kind says what a section is, not its place."""
    made = image()
    table = made.table
    kinds = [STATE, MEMORY, TRAINED, FROZEN]
    at = int(made.header["structure_bytes"])
    for entry, kind in zip(table, kinds):
        images.put(entry, kind=kind, offset=at, bytes=len(made.net[kind]))
        at += len(made.net[kind])
    engine.check(made.seal().net)


def test_sections_overlap(engine):
    made = image()
    made.table[2]["offset"] = made.table[1]["offset"]
    refused(engine, made.seal_structure().net, "entry 2|section")


def test_seal(engine):
    made = image()
    expected = made.contents()
    made.header["structure_crc"], made.table["crc"] = 1, 2
    engine.seal(made.net)
    assert made.contents() == expected


@given(data=st.binary(max_size=100), more=st.binary(max_size=20))
def test_crc32(engine, data, more):
    assert engine.crc32(data) == zlib.crc32(data)
    assert engine.crc32(more, engine.crc32(data)) == zlib.crc32(data + more)


def test_read_only_sections_may_be_bytes(engine):
    """What is never written may stay in flash."""
    made = image()
    net = tuple(bytes(section) for section in made.net)
    engine.check_structure(net[STRUCTURE])
    engine.check(net)
    engine.infer(net, floats([0] * 6), floats([0] * 3), bytearray(engine.scratch_bytes(net)))
    net = (bytes(made.net[0]), made.net[1], bytes(made.net[2]), made.net[3], made.net[4])
    Driver(engine, images.Image(net)).learn([1] * 6, 0)
    with pytest.raises((ValueError, TypeError, BufferError)):
        Driver(engine, images.Image((made.net[0], bytes(made.net[1]), *made.net[2:]))).learn(
            [1] * 6, 0
        )


@pytest.mark.parametrize(
    "name, dtype",
    [
        ("tinc_header", images.HEADER),
        ("tinc_section", images.SECTION),
        ("tinc_layer", images.LAYER),
        ("tinc_memory", images.MEMORY_HEADER),
        ("tinc_state", images.STATE_HEADER),
        ("tinc_layer_state", images.LAYER_STATE),
        ("tinc_class_state", images.CLASS_STATE),
    ],
)
def test_structs_lie_as_the_core_sees_them(c_engine, name, dtype):
    fields = c_engine.ffi.typeof(name).fields
    offsets = [(field, detail.offset, c_engine.ffi.sizeof(detail.type)) for field, detail in fields]
    expected = [(field, dtype.fields[field][1], dtype[field].itemsize) for field in dtype.names]
    assert offsets == expected
    assert c_engine.ffi.sizeof(name) == dtype.itemsize


# ---- the golden file ----


@pytest.fixture(scope="module")
def golden():
    return (VECTORS / "golden.tinc").read_bytes(), json.loads((VECTORS / "golden.json").read_text())


def test_golden_bytes(golden):
    """The independent builder still gives these bytes: what changes them breaks the format."""
    from make_golden import build

    assert build().file() == golden[0]
    assert images.parse(golden[0]).file() == golden[0]
    assert zlib.crc32(golden[0]) == golden[1]["crc32"]


def test_golden_is_a_network(engine, golden):
    file, expected = golden
    made = images.parse(file)
    engine.check(made.net)
    for section, crc in zip(made.net, expected["section_crc32"]):
        assert engine.crc32(section) == crc


def test_golden_inference(engine, golden):
    file, expected = golden
    user = Driver(engine, images.parse(file))
    for case in expected["inference"]:
        x = user.normalise(bytes(case["raw"]))
        np.testing.assert_allclose(x, case["x"], atol=1e-6)
        cls, probabilities = user.infer(x)
        assert cls == case["class"]
        np.testing.assert_allclose(probabilities, case["probabilities"], atol=1e-6)


def test_golden_learning(engine, golden):
    file, expected = golden
    user = Driver(engine, images.parse(file))
    steps = expected["learning"]
    losses = [user.learn(user.normalise(bytes(step["raw"])), step["target"]).loss for step in steps]
    np.testing.assert_allclose(losses, [step["loss"] for step in steps], atol=1e-5)
    assert losses[-1] < losses[0] / 2


def test_the_engines_say_the_same(c_engine):
    from tinyinc.pure import faults

    for code in range(-32, 0):
        fault = c_engine.ffi.new("tinc_fault *", (code, 98, 65536, 102))
        text = c_engine.ffi.new("char[]", c_engine.lib.TINC_TEXT_BYTES)
        size = c_engine.lib.tinc_describe(fault, text)
        where = "b" if code == faults.SAMPLE_TYPE else 98
        expected = "f" if code == faults.ARGUMENT_TYPE else 102
        words = faults.TEXTS[code].format(where=where, found=65536, expected=expected)
        assert c_engine.ffi.string(text).decode() == words and size == len(words) < 96


@pytest.mark.parametrize("number", [0, 9, 10, 99, 100, 1000000000, 4000000000, 4294967295])
def test_numbers_in_texts(c_engine, number):
    fault = c_engine.ffi.new("tinc_fault *", (-19, 0, number, 7))
    text = c_engine.ffi.new("char[]", c_engine.lib.TINC_TEXT_BYTES)
    c_engine.lib.tinc_describe(fault, text)
    assert c_engine.ffi.string(text).decode() == f"scratch has {number} bytes, expected 7"


def test_the_texts_are_short_and_plain(engine):
    """A text has room on a small screen, and no left-over place holder."""
    made = image()
    made.header["magic"] = b"TIFF"
    with pytest.raises(ValueError) as error:
        engine.check(made.net)
    assert re.fullmatch(r"[^{}]{10,95}", str(error.value))
