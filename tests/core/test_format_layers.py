"""The format's version 1.1: layers other than dense, q8, and the stage that runs strip by strip."""

import ctypes
import json
import re
import subprocess
import zlib
from array import array
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import assume, given
from hypothesis import strategies as st

import images
import storage
import trajectory
from images import (
    FROZEN,
    TRAIN_BIAS,
    TRAIN_WEIGHTS,
    TRAINED,
    add,
    average_pool,
    conv,
    dense,
    depthwise,
    max_pool,
    network,
)

VECTORS = Path(__file__).parent.parent / "vectors"
BAD_FLOATS = [np.nan, np.inf, -np.inf]
BEYOND = [2**31, 2**32 - 8]
CONV1, DEPTHWISE, CONV2, ADD, MAX, AVERAGE, HIDDEN, LAST = range(8)
BYTES = {name: detail[1] for name, detail in images.LAYER.fields.items()}


def image(q8=True, **more):
    """Every kind of layer; trained but for the last convolution's weights."""
    layers = [
        conv(7, 3, stride=2, padding=1, weight_type=storage.INT8),  # 9 x 8 x 3 to 5 x 4 x 7
        depthwise(3, padding=1, activation="relu6"),
        conv(7, 1, activation="linear", train=TRAIN_BIAS),
        add(0, activation="relu"),
        max_pool(2),  # 2 x 2 x 7
        average_pool(2),
        dense(7, 5, eighths=4),
        dense(5, 3),
    ]
    return network((9, 8, 3), layers, q8=q8, slots=4, used=2, **more)


def front(train=0, **more):
    """A stage of three frozen layers."""
    layers = [
        conv(4, 3, train=train),
        max_pool(2),
        depthwise(3, padding=1, train=0),
        conv(4, 1),
        add(2),
        dense(3),
    ]
    header = {"stage_layers": 3, "stage_rows": 2}
    return network((10, 10, 2), layers, q8=True, header=header | more)


def refused(engine, made, text):
    with pytest.raises(ValueError, match=text):
        engine.check(made.seal().net)


@pytest.mark.parametrize("q8", [False, True])
def test_every_kind_is_accepted(c_engine, q8):
    made = image(q8)
    c_engine.check(made.net)
    c_engine.check(images.parse(made.file()).net)
    assert made.header["version_minor"] == 1


def test_version_1_0_where_it_will_do():
    assert images.build((3, 2)).header["version_minor"] == 0


@pytest.mark.parametrize("q8", [False, True])
def test_the_pure_engine_names_what_it_has_not(q8):
    from tinyinc import pure

    refused(pure, image(q8), "layer 0 needs the compiled engine")
    for layers in ([dense(4, activation="relu6"), dense(2)], [dense(4), dense(2, eighths=2)]):
        made = network((3,), layers, q8=q8)
        number = 0 if q8 or layers[0].get("activation") else 1
        refused(pure, made, f"layer {number} needs the compiled engine")


# ---- fields ----

# Where it is not the field's first byte: an axis, a side, or the first of several in a row.
NAMED = {
    "kernel": "(8|9|12|13|14|15|36)",
    "stride": "(8|10|11|36)",
    "padding": "(8|12|13|14|15)",
    "dilation": "(8|16|17)",
    "input_shape": "(24|28|32)",
    "output_shape": "(36|40|44)",
    "bias_offset": "5[26]",
    "masks_offset": "64",
    "reserved": "76",
}

ANY_KIND = {
    "optimiser_slots": [1],
    "slots_offset": [8],
    "masks_offset": [8],
    "output_zero_point": [1, -1],
    "reserved": [(0, 0, 0, 1)],
}
WINDOW = {
    "rank": [0, 1, 2, 4],
    "kernel": [(0, 1), (1, 0), (255, 255), (9, 3)],
    "stride": [(0, 1), (2, 0), (9, 9)],
    "padding": [(3, 1, 1, 1), (1, 3, 1, 1), (1, 1, 3, 1), (1, 1, 1, 3), (255, 0, 0, 0)],
    "dilation": [(0, 0), (2, 1), (1, 2)],
    "source": [0, 1],
    "output_shape": [(6, 4, 7), (5, 5, 7), (4, 4, 7), (5, 4, 0), (0, 4, 7), (2**16 + 5, 4, 7)],
    "active": [0, 6, 8],
    **ANY_KIND,
}
NO_WINDOW = {
    "kernel": [(1, 1)],
    "stride": [(1, 1)],
    "padding": [(0, 0, 0, 1)],
    "dilation": [(1, 1)],
    "groups": [1, 7],
}
NO_WEIGHTS = {
    "flags": [1, 2, 3],
    "update_eighths": [1, 2, 4, 9],
    "weight_type": [1, 2],
    "bias_type": [1],
    "weights_offset": [8],
    "bias_offset": [8],
    "scales_offset": [8],
}
OFFSET = [4, 1, *BEYOND]
STEPS = [0, -1.0, 3.0, 2.0**-25, 2.0**25, *BAD_FLOATS]
REFUSED = {
    CONV1: WINDOW
    | {
        "activation": [3, 255],
        "flags": [4],
        "update_eighths": [0, 3, 5, 6, 7, 9, 16],
        "weight_type": [0, 3],
        "bias_type": [0, 2],
        "groups": [0, 3, 7],
        "input_shape": [(9, 8, 4), (9, 8, 0), (2**31, 8, 3), (0, 0, 0), (65536, 65536, 1)],
        "weights_offset": OFFSET,
        "bias_offset": OFFSET,
        "scales_offset": OFFSET,
        "output_step": STEPS,
    },
    DEPTHWISE: WINDOW
    | {"groups": [0, 1, 3], "input_shape": [(4, 5, 7), (5, 4, 8)], "weight_type": [0]},
    CONV2: {
        "weight_type": [0, 2],  # frozen: int8
        "update_eighths": [1, 2, 4],
        "input_shape": [(5, 4, 1), (4, 5, 7)],
    },
    ADD: ANY_KIND
    | NO_WINDOW
    | NO_WEIGHTS
    | {
        "activation": [3],
        "rank": [1],
        "source": [2, 3, 4, 7, 65535],
        "input_shape": [(4, 5, 7)],
        "output_shape": [(4, 5, 7), (5, 4, 8), (0, 4, 7)],
        "active": [6],
        "output_step": STEPS,
    },
    MAX: ANY_KIND
    | NO_WEIGHTS
    | {
        "activation": [1, 2],
        "groups": [1, 7],
        "output_shape": [(3, 2, 7), (2, 2, 6)],
        "output_step": [1.0],
        "source": [0],
    },
    AVERAGE: NO_WEIGHTS | {"activation": [1], "output_step": [1.0], "output_shape": [(2, 1, 7)]},
    HIDDEN: ANY_KIND
    | NO_WINDOW
    | {
        "activation": [0, 3],
        "rank": [3],
        "source": [0],
        "weight_type": [0, 3],
        "output_shape": [(0, 1, 1), (7, 2, 1), (65536, 1, 1)],
        "active": [8],
        "output_step": STEPS,
    },
    LAST: {"activation": [1, 2], "output_step": [1.0], "scales_offset": OFFSET},
}


@pytest.mark.parametrize(
    "layer, field, value",
    [
        pytest.param(layer, field, value, id=f"{layer}.{field}={value}")
        for layer, fields in REFUSED.items()
        for field, values in fields.items()
        for value in values
    ],
)
def test_field_out_of_range(c_engine, layer, field, value):
    made = image()
    made.layers[layer][field] = value
    refused(c_engine, made, f"layer {layer}: ")
    with pytest.raises(ValueError) as error:
        c_engine.check_structure(made.net[0])
    words = rf"byte {NAMED.get(field, BYTES[field])}\b"
    if "_offset" in field and layer in (CONV1, DEPTHWISE, CONV2, HIDDEN, LAST):
        words += "|tensor at"
    assert re.search(f"{words}|inputs" if field == "input_shape" else words, str(error.value))


@pytest.mark.parametrize("layer, kind", [(0, 0), (3, 7), (3, 255), (7, 2), (7, 5), (6, 0)])
def test_kinds(c_engine, layer, kind):
    made = image()
    made.layers[layer]["kind"] = kind
    refused(c_engine, made, f"layer {layer}: kind {kind} is unknown or has no place here")


def test_the_last_layer_is_dense(c_engine):
    made = network((3, 1, 4), [conv(3, 1, activation="linear")])
    refused(c_engine, made, "layer 0: kind 2 .* no place")


def test_no_image_after_a_dense_layer(c_engine):
    made = network((6,), [dense(6), dense(6), dense(2)])
    images.put(made.layers[1], kind=images.ADD, rank=3, source=0, flags=0)
    refused(c_engine, made, "layer 1: kind 6 .* no place")


def test_what_is_added_has_the_same_shape(c_engine):
    layers = [conv(2, 1), max_pool(2), depthwise(1), add(0), dense(2)]
    refused(c_engine, network((4, 4, 2), layers), "layer 3: byte 18")
    layers[1] = max_pool(1)
    c_engine.check(network((4, 4, 2), layers).net)


@pytest.mark.parametrize("layer", [CONV1, DEPTHWISE, CONV2, HIDDEN, LAST])
@pytest.mark.parametrize("field", ["weights_offset", "bias_offset", "scales_offset"])
def test_tensors_end_in_their_section(c_engine, layer, field):
    made = image()
    flag = TRAIN_BIAS if field == "bias_offset" else TRAIN_WEIGHTS
    section = made.net[TRAINED if made.layers[layer]["flags"] & flag else FROZEN]
    made.layers[layer][field] = len(section) - 8
    refused(c_engine, made, f"layer {layer}: tensor at {len(section) - 8} lies outside")


ACCEPTED = [
    (CONV1, {"activation": 0}),
    (CONV1, {"activation": 2}),
    (CONV1, {"update_eighths": 1}),
    (CONV1, {"output_step": 2.0**-24}),
    (CONV1, {"output_step": 2.0**24}),
    (CONV2, {"update_eighths": 0}),
    (ADD, {"activation": 0}),
    (ADD, {"source": 1}),
    (ADD, {"update_eighths": 8}),
    (HIDDEN, {"activation": 2}),
    (HIDDEN, {"active": 0}),
    (HIDDEN, {"active": 7}),
]


@pytest.mark.parametrize("layer, fields", ACCEPTED)
def test_field_at_its_bounds(c_engine, layer, fields):
    made = image()
    images.put(made.layers[layer], **fields)
    c_engine.check(made.seal().net)


@pytest.mark.parametrize(
    "field, values",
    {
        "weight_type": [1, 2],
        "bias_type": [1],
        "scales_offset": [8],
        "output_step": [1.0, 2.0**-4],
    }.items(),
)
def test_f32_has_none_of_q8(c_engine, field, values):
    for value in values:
        for layer in range(8):
            made = image(q8=False)
            made.layers[layer][field] = value
            refused(c_engine, made, f"layer {layer}: byte {BYTES[field]}")


@pytest.mark.parametrize(
    "field, values",
    {
        "input_type": [0, 2],
        "input_step": STEPS,
        "input_zero_point": [-128, 1],
        "input_scale": [0, 1e-40, -1e-40, *BAD_FLOATS],
        "input_offset": [2.0**8, -(2.0**13), *BAD_FLOATS],  # 2^13 and 2^18 steps of 2^-5
    }.items(),
)
def test_header(c_engine, field, values):
    for value in values:
        made = image()
        made.header[field] = value
        refused(c_engine, made, "image header: byte (44|6[48]|80|84)")


@pytest.mark.parametrize(
    "fields",
    [
        {"input_offset": 255.99},  # its power of two is 2^12 steps of 2^-5
        {"input_offset": -255.99, "input_scale": -1.99},
        {"input_scale": 2.0**-126},
        {"input_offset": 2.0**100, "input_scale": 2.0**-100},
    ],
)
def test_header_at_its_bounds(c_engine, fields):
    c_engine.check(image(header=fields).net)


def test_memory_counts_in_steps_of_the_input(c_engine):
    for field, value in (("step", 2.0**-6), ("offset", -2.0), ("step", np.nan), ("offset", 4.0)):
        made = image()
        made.memory[field] = value
        refused(c_engine, made, "memory: byte 2[04]")


@pytest.mark.parametrize("rate", [0.1, 3.0, 2.0**-30, 16.0, 0, -0.125, np.nan])
def test_learning_rate_is_a_power_of_two(c_engine, rate):
    made = image(learning_rate=rate)
    refused(c_engine, made, "settings: byte 20")


def test_learning_rates(c_engine):
    for exponent in (-29, 0, 3):
        c_engine.check(image(learning_rate=2.0**exponent).net)


@pytest.mark.parametrize("q8, most", [(False, 0), (True, 30)])
def test_widened(c_engine, q8, most):
    made = image(q8)
    made.layer_states["widened"][3] = most
    c_engine.check(made.seal().net)
    made.layer_states["widened"][3] = most + 1
    refused(c_engine, made, "settings: byte")


# ---- shapes ----


@given(
    extent=st.integers(1, 300),
    kernel=st.integers(1, 20),
    stride=st.integers(1, 255),
    before=st.integers(0, 19),
    after=st.integers(0, 19),
    error=st.sampled_from([-1, 1]),
)
def test_extents(c_engine, extent, kernel, stride, before, after, error):
    assume(before < kernel and after < kernel and extent + before + after >= kernel)
    for axis in (0, 1):
        window = {"kernel": (1, 1), "stride": (1, 1), "padding": (0, 0, 0, 0)}
        for name, value in (("kernel", kernel), ("stride", stride)):
            window[name] = (value, 1) if axis == 0 else (1, value)
        padding = (before, 0, after, 0) if axis == 0 else (0, before, 0, after)
        shape = (extent, 1, 1) if axis == 0 else (1, extent, 1)
        pool = average_pool(**(window | {"padding": padding}))
        made = network(shape, [pool, dense(2)])
        c_engine.check(made.net)
        wrong = int(made.layers[0]["output_shape"][axis]) + error
        made.layers[0]["output_shape"][axis] = made.layers[1]["input_shape"][0] = wrong
        refused(c_engine, made, f"layer 0: byte {BYTES['output_shape'] + 4 * axis}")


def test_large_windows(c_engine):
    c_engine.check(network((16, 16, 1), [max_pool(16), dense(2)]).net)
    refused(c_engine, network((17, 16, 1), [max_pool((17, 16)), dense(2)]), "layer 0: byte 8")
    c_engine.check(network((255, 255, 1), [average_pool(255), dense(2)]).net)
    c_engine.check(network((255, 255, 1), [conv(1, 255), dense(2)]).net)
    wide = network((2, 2, 16383), [conv(1, (2, 1)), dense(2)])
    c_engine.check(wide.net)
    refused(
        c_engine, network((2, 2, 16383), [conv(1, (3, 2), padding=1), dense(2)]), "layer 0: byte 8"
    )


def test_at_most_65535_values(c_engine):
    pool = average_pool((1, 2), stride=1, padding=(0, 1, 0, 1))
    c_engine.check(network((255, 255, 1), [pool, dense(2)]).net)
    made = network((256, 255, 1), [pool, dense(2)], sizes_only=True)
    refused(c_engine, made, f"layer 0: byte {BYTES['output_shape'] + 4}")


def test_huge_tensors_are_out_of_bounds(c_engine):
    """Sizes that wrap around in 32 bits."""
    made = network((65535,), [dense(65535), dense(2)], sizes_only=True)
    refused(c_engine, made, "layer 0: tensor at")
    made = network((32768,), [dense(32768), dense(2)], sizes_only=True)
    refused(c_engine, made, "layer 0: tensor at")
    layers = [conv(65535, 1, stride=255), dense(2)]
    made = network((1, 1, 65535), layers, q8=True, sizes_only=True)
    refused(c_engine, made, "layer 0: tensor at")


# ---- the stage ----


def test_stage(c_engine):
    for rows in (1, 2, 4):
        c_engine.check(front(stage_rows=rows).net)
    c_engine.check(front(stage_layers=2).net)


@pytest.mark.parametrize(
    "fields, text",
    [
        ({"stage_rows": 0}, "header: byte 90"),
        ({"stage_rows": 5}, "header: byte 90"),
        ({"stage_layers": 0}, "header: byte 90"),
        ({"stage_layers": 6}, "layer 4: byte 18"),
        ({"stage_layers": 255}, "layer 4: byte 18"),
        ({"stage_layers": 4}, r"layer (3|4)\b"),
        ({"stage_layers": 5}, r"layer (3|4)\b"),
    ],
)
def test_stage_out_of_range(c_engine, fields, text):
    refused(c_engine, front(**fields), text)


def test_a_stage_is_frozen(c_engine):
    for train in (TRAIN_WEIGHTS, TRAIN_BIAS):
        refused(c_engine, front(train), "layer 0: cannot run in strips")


def test_dense_layers_and_additions_run_whole(c_engine):
    layers = [depthwise(1, train=0), depthwise(1, train=0), add(0), dense(3, train=0), dense(2)]
    for stage in (3, 4):
        layers[2] = add(0) if stage == 3 else depthwise(1, train=0)
        made = network((4, 4, 2), layers)
        images.put(made.header, stage_layers=stage, stage_rows=1)
        # an addition's source must outlive the stage, too: that is found first
        text = "layer 2: byte 18" if stage == 3 else "layer 3: cannot run in strips"
        refused(c_engine, made, text)


def test_nothing_within_a_stage_is_added_later(c_engine):
    layers = [depthwise(1, train=0), depthwise(1, train=0), conv(2, 1), add(0), dense(2)]
    for stage, source in ((1, 0), (2, 1)):
        layers[3] = add(source)
        header = {"stage_layers": stage, "stage_rows": 1}
        c_engine.check(network((4, 4, 2), layers, header=header).net)
    made = network((4, 4, 2), layers[:3] + [add(0)] + layers[4:], header=header)
    refused(c_engine, made, f"layer 3: byte {BYTES['source']}")


# ---- the front end ----


def with_front(layers, front_layers, **header):
    """For samples of 8 x 6 x 2; not checked here."""
    return network((8, 6, 2), layers, header={"front_layers": front_layers} | header)


def frozen_layers():
    return [
        conv(4, 3, padding=1, train=0),
        depthwise(3, padding=1, train=0),
        add(0),
        max_pool(2),
        dense(9, train=0),
        dense(5, train=0),
        dense(3),
    ]


def test_a_front_end_of_any_layers_but_the_last(c_engine):
    for layers in range(7):
        if layers not in (1, 2):  # the addition would reach back over the border
            c_engine.check(with_front(frozen_layers(), layers).net)
    stage = {"stage_layers": 2, "stage_rows": 3}
    layers = frozen_layers()
    layers[2] = conv(4, 1)
    c_engine.check(with_front(layers, 2, **stage).net)


@pytest.mark.parametrize("layers, source", [(1, 0), (2, 0), (2, 1)])
def test_nothing_is_added_over_the_border_of_the_front_end(c_engine, layers, source):
    declared = frozen_layers()
    declared[2:3] = [depthwise(1), add(source)]
    text = f"layer 3: byte {BYTES['source']} "
    refused(c_engine, with_front(declared, layers), text)
    declared[3] = add(layers)  # of the layer behind the border
    if layers + 1 < 3:
        c_engine.check(with_front(declared, layers).net)


@pytest.mark.parametrize("layer", [0, 1, 4, 5])
@pytest.mark.parametrize("train", [TRAIN_WEIGHTS, TRAIN_BIAS])
def test_a_front_end_is_frozen(c_engine, layer, train):
    declared = frozen_layers()
    declared[layer] |= {"train": train}
    text = f"layer {layer}: of the front end, but trained"
    refused(c_engine, with_front(declared, 6), text)
    if layer > 3:
        c_engine.check(with_front(declared, layer).net)


def test_all_units_of_a_front_end_are_in_use(c_engine):
    declared = frozen_layers()
    declared[4]["active"] = 8
    c_engine.check(with_front(declared, 4).net)
    refused(c_engine, with_front(declared, 5), f"layer 4: byte {BYTES['active']} ")


def test_the_step_of_a_front_end_is_not_doubled(c_engine):
    made = network((8, 6, 2), frozen_layers(), q8=True, header={"front_layers": 5})
    made.layer_states["widened"][5] = 1
    c_engine.check(made.seal().net)
    made.layer_states["widened"][4] = 1
    refused(c_engine, made.seal(), f"settings: byte {128 + 8 * 4} ")


@pytest.mark.parametrize(
    "header",
    [
        {"front_layers": 7},
        {"front_layers": 255},
        {"front_layers": 1, "stage_layers": 2, "stage_rows": 1},
    ],
)
def test_front_layers_out_of_range(c_engine, header):
    layers = frozen_layers()
    layers[2] = conv(4, 1)
    refused(c_engine, with_front(layers, **header), "header: byte 89 ")


@pytest.mark.parametrize("q8", [False, True])
def test_a_memory_of_features(c_engine, q8):
    """Their number, and in q8 the step of the layer that gives them."""
    header = {"front_layers": 4}  # a pool after an addition
    made = network((8, 6, 2), frozen_layers(), q8=q8, header=header, slots=3, used=2)
    c_engine.check(made.net)
    assert made.memory["features"] == 4 * 3 * 4
    for fields in ({"features": 96}, {"stride": 47}):
        changed = made.copy()
        images.put(changed.memory, **fields)
        refused(c_engine, changed.seal(), "memory: byte")
    if q8:
        made.memory["step"], made.memory["offset"] = 2.0**-5, -4
        refused(c_engine, made.seal(), "memory: byte 20 ")


@pytest.mark.parametrize("features", [1, 6, 7])
def test_a_slot_of_4_bits_has_half_as_many_bytes(engine, features):
    made = images.build((features, 4, 2), slots=3, used=2, packed=True)
    half = (features + 1) // 2
    assert made.memory["stride"] == half and made.header["version_minor"] == 2
    engine.check(made.net)
    made.memory["stride"] = half - 1
    refused(engine, made.seal(), "memory: byte 12 ")
    made.memory["stride"], made.memory["element_type"] = half, 0
    text = "memory: byte (12|36) "  # bytes of one value each do not fit
    if features > 1:
        refused(engine, made.seal(), text)


def test_memories_of_q8(c_engine):
    """Steps of the features from -128 on, or halves of them from 0 on."""
    for positive, step, offset in ((False, 2.0**-5, -4.0), (True, 2.0**-6, 0.0)):
        made = images.build((5, 4, 2), q8=True, slots=3, used=2, positive=positive)
        assert (made.memory["step"], made.memory["offset"]) == (step, offset)
        c_engine.check(made.net)
        for field, byte, wrong in (
            ("step", 20, (2 * step, step / 2, step * 0.75, 0)),
            ("offset", 24, (-2 * step, 4, -8)),
        ):
            for value in wrong:
                changed = made.copy()
                changed.memory[field] = value
                refused(c_engine, changed.seal(), f"memory: byte (20|{byte}) ")


# ---- values of the tensors ----


@pytest.mark.parametrize("layer", [CONV1, DEPTHWISE, CONV2, HIDDEN, LAST])
def test_scales(c_engine, layer):
    made = image()
    good = made.scales(layer, active=False)[-1]
    for value in (0, -1.0, 1e-40, *BAD_FLOATS):
        made.scales(layer, active=False)[-1] = value
        refused(c_engine, made, f"layer {layer}: value")
    made.scales(layer, active=False)[-1] = 3.0
    if layer == CONV2:
        c_engine.check(made.seal().net)
    else:
        refused(c_engine, made, f"layer {layer}: value")
    made.scales(layer, active=False)[-1] = good * 2
    c_engine.check(made.seal().net)


@pytest.mark.parametrize("layer", [DEPTHWISE, HIDDEN, LAST])
@pytest.mark.parametrize("place", [0, -1])
def test_masters_leave_room_for_a_step(c_engine, layer, place):
    made = image()
    weights = made.weights(layer, active=False)
    for value, right in [
        (storage.LEAST_MASTER, True),
        (storage.MOST_MASTER, True),
        (storage.LEAST_MASTER - 1, False),
        (storage.MOST_MASTER + 1, False),
    ]:
        weights.flat[place] = value
        made.set_weights(layer, weights)
        if right:
            c_engine.check(made.seal().net)
        else:
            refused(c_engine, made, f"layer {layer}: value")


@pytest.mark.parametrize("layer", [CONV1, CONV2])
@pytest.mark.parametrize("place", [0, -1])
def test_int8_weights(c_engine, layer, place):
    made = image()
    weights = made.weights(layer)
    for value in (-127, 127):
        weights.flat[place] = value
        made.set_weights(layer, weights)
        c_engine.check(made.seal().net)
    weights.flat[place] = -128
    made.set_weights(layer, weights)
    refused(c_engine, made, f"layer {layer}: value")


def test_what_fills_up_a_pair_is_zero(c_engine):
    """CONV1 has 7 rows of 27 int8 weights, HIDDEN 7 rows of 7 masters."""
    made = image()
    at = int(made.layers[CONV1]["weights_offset"])
    stored = made.net[TRAINED]
    for word, byte in ((13, 1), (13, 3), (3 * 14, 2), (4 * 14 - 1, 3)):
        assert stored[at + 4 * word + byte] == 128
        stored[at + 4 * word + byte] = 129
        refused(c_engine, made, f"layer 0: value {4 * word + byte} ")
        stored[at + 4 * word + byte] = 128
    halves = np.frombuffer(stored, "<u2", offset=int(made.layers[HIDDEN]["weights_offset"]))
    for i in (3 * 7, 4 * 7 - 1):
        assert halves[2 * i + 1] == 32896
        halves[2 * i + 1] = 32897
        refused(c_engine, made, f"layer {HIDDEN}: value {2 * i + 1} ")
        halves[2 * i + 1] = 32896
    c_engine.check(made.seal().net)


@pytest.mark.parametrize("layer", [CONV1, CONV2, LAST])
def test_biases(c_engine, layer):
    made = image()
    for value in (-(2**30), 2**30):
        made.bias(layer, active=False)[-1] = value
        c_engine.check(made.seal().net)
    for value in (-(2**30) - 1, 2**30 + 1, -(2**31), 2**31 - 1):
        made.bias(layer, active=False)[-1] = value
        refused(c_engine, made, f"layer {layer}: value")


@pytest.mark.parametrize("value", BAD_FLOATS)
def test_f32_values_are_finite(c_engine, value):
    for layer in (CONV1, DEPTHWISE, CONV2, HIDDEN):
        made = image(q8=False)
        made.weights(layer, active=False).flat[-1] = value
        refused(c_engine, made, f"layer {layer}: value")


# ---- how weights are stored ----


def test_storage_of_masters():
    """Pairs of rows: the first row's weight in the low half of a word, the second's in the high."""
    masters = np.array([[1, -2, 300], [4, 5, -600], [7, 8, 9]])
    words = np.frombuffer(storage.pack(masters, storage.INT16, False), "<u4")
    low, high = words & 0xFFFF, words >> 16
    assert low.tolist() == [32897, 32894, 33196, 32903, 32904, 32905]
    assert high.tolist() == [32900, 32901, 32296, 32896, 32896, 32896]
    assert storage.int8_of(masters, storage.INT16).tolist() == [[0, 0, 1], [0, 0, -2], [0, 0, 0]]


def test_storage_of_int8():
    """Pairs of rows and of inputs."""
    weights = np.array([[1, 2, 3], [-4, -5, -6], [7, 8, -127]])
    stored = np.frombuffer(storage.pack(weights, storage.INT8, False), "u1").astype(int) - 128
    assert stored.tolist() == [1, 2, -4, -5, 3, 0, -6, 0, 7, 8, 0, 0, -127, 0, 0, 0]


def test_storage_of_depthwise():
    weights = np.arange(-6, 6).reshape(2, 2, 3)
    for weight_type, dtype, zero in ((storage.INT8, "u1", 128), (storage.INT16, "<u2", 32896)):
        stored = np.frombuffer(storage.pack(weights, weight_type, True), dtype).astype(int)
        assert (stored - zero).tolist() == list(range(-6, 6))


@given(
    shape=st.one_of(
        st.tuples(st.integers(1, 9), st.integers(1, 9)),
        st.tuples(*[st.integers(1, 4)] * 4),
    ),
    weight_type=st.sampled_from([storage.INT8, storage.INT16]),
    seed=st.integers(0, 99),
)
def test_storage_round_trip(shape, weight_type, seed):
    most = 127 if weight_type == storage.INT8 else 24000
    weights = np.random.default_rng(seed).integers(-most, most + 1, shape)
    data = storage.pack(weights, weight_type, False)
    assert (storage.unpack(data, shape, weight_type, False) == weights).all()
    assert len(data) == storage.weight_bytes(shape, weight_type, False)


# ---- the golden file ----


@pytest.fixture(scope="module")
def golden():
    return (VECTORS / "golden_q8.tinc").read_bytes(), json.loads(
        (VECTORS / "golden_q8.json").read_text()
    )


def test_golden_bytes(golden):
    """The independent builder still gives these bytes: what changes them breaks the format."""
    from make_golden import build_q8

    file, expected = golden
    assert build_q8().file() == file and images.parse(file).file() == file
    assert zlib.crc32(file) == expected["crc32"]
    sections = images.parse(file).net
    assert [zlib.crc32(section) for section in sections] == expected["section_crc32"]


def test_golden_inference(c_engine, golden):
    file, expected = golden
    net = images.parse(file).net
    c_engine.check(net)
    scratch = bytearray(c_engine.scratch_bytes(net))
    for case in expected["inference"]:
        x, probabilities = array("b", bytes(84)), array("f", bytes(12))
        c_engine.normalise(net, bytes(case["raw"]), x)
        assert x.tolist() == case["x"]
        assert c_engine.infer(net, x, probabilities, scratch) == case["class"]
        np.testing.assert_allclose(probabilities, case["probabilities"], atol=1e-5)


def test_golden_training(c_engine, golden):
    """200 steps by all rules in turn, to the last bit; tests/boards has it on other machines."""
    file, expected = golden
    assert trajectory.train(c_engine, images.parse(file).net) == expected["training_crc32"]


# ---- a core without float32 ----


def test_an_integer_core_refuses_float32(tmp_path):
    sources = (ROOT / "usermod_c" / "core").glob("*.c")
    library = tmp_path / "core.so"
    flags = ["-std=c99", "-shared", "-fPIC", "-DTINYINC_F32=0"]
    subprocess.run(["gcc", *flags, *sources, "-o", library], check=True)
    check = ctypes.CDLL(str(library)).tinc_open_structure
    view = (ctypes.c_uint64 * 64)()
    for made, code in ((image(q8=True), 0), (image(q8=False), -15)):
        structure = (ctypes.c_char * len(made.net[0])).from_buffer(made.net[0])
        assert check(view, structure, ctypes.c_size_t(len(structure))) == code
