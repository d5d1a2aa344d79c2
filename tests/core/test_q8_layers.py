"""The layers of q8, forward, backward and updates, give exactly what q8_reference.py gives."""

import ctypes
import subprocess

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import images
import q8_reference
import reference
from images import (
    ADD,
    DENSE,
    DEPTHWISE,
    RULES,
    TRAIN_WEIGHTS,
    add,
    average_pool,
    conv,
    dense,
    depthwise,
    max_pool,
)
from storage import INT8, INT16, LEAST_MASTER, MOST_MASTER, times_scales

SOURCES = sorted(map(str, (ROOT / "usermod_c" / "core").glob("*.c")))
FLAGS = ["-std=c99", "-O2", "-DTINYINC_F32=0", "-fPIC", "-shared"]
TRAPS = ["-fsanitize=undefined", "-fno-sanitize-recover=all"]
INFER, LEARN = 0, 1
VALUES, MASK, WINNERS, DELTA, FORWARD, BACKWARD, ROLES = range(7)


class Rows(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint32) for name in ("start", "stop", "input_from")]


class Work(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in ("net", "busy", "tensors", "scratch", "x")]
    _fields_ += [("learning", ctypes.c_int)]
    _fields_ += [
        (name, ctypes.c_uint32)
        for name in ("start", "stop", "first", "forward", "backward", "dense")
    ]


class Tensor(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint32) for name in ("offset", "bytes")]
    _fields_ += [(name, ctypes.c_uint16) for name in ("first", "last")]
    _fields_ += [("exponent", ctypes.c_int16), ("live", ctypes.c_uint16)]


class Engine:
    """The core at work on one sample, layer by layer, as its drivers do it."""

    def __init__(self, library, image, x, learning=LEARN):
        self.library, self.image = library, image
        self.x = np.array(x, np.int8).ravel()
        self.net = ctypes.create_string_buffer(4096)
        sections = [(ctypes.c_char * len(s)).from_buffer(s) if s else None for s in image.net]
        pointers = [ctypes.cast(s, ctypes.c_void_p) if s else None for s in sections]
        sizes = (ctypes.c_size_t * 5)(*map(len, image.net))
        code = library.tinc_open(self.net, (ctypes.c_void_p * 5)(*pointers), sizes)
        assert code == 0, code
        image.seal()
        assert library.tinc_check(self.net) == 0
        library.tinc_scratch_bytes.restype = ctypes.c_size_t
        needed = library.tinc_scratch_bytes(self.net, learning)
        self.scratch = np.zeros(needed // 8 + 1, np.uint64)
        self.scratch.view("u1")[8:] = 0xA5  # nothing may count on zeros
        self.work = Work()
        code = library.tinc_begin(
            self.net,
            self.x.ctypes.data_as(ctypes.c_void_p),
            learning,
            self.scratch.ctypes.data_as(ctypes.c_void_p),
            ctypes.c_size_t(needed),
            ctypes.byref(self.work),
        )
        assert code == 0, code
        table = ctypes.cast(self.work.tensors, ctypes.POINTER(Tensor))
        self.tensors = [table[i * ROLES : (i + 1) * ROLES] for i in range(len(image.layers))]
        self.kept = sections

    def tensor(self, index, role):
        return ctypes.cast(self.work.tensors, ctypes.POINTER(Tensor))[index * ROLES + role]

    def place(self, index, role, dtype):
        """A tensor in the scratch, or None."""
        tensor = self.tensor(index, role)
        if tensor.bytes == 0:
            return None
        return self.scratch.view("u1")[tensor.offset :][: tensor.bytes].view(dtype)

    def delta(self, index):
        delta = self.place(index, DELTA, "i4")
        return None if delta is None else delta[: self.image.active(index)]

    def input(self, index):
        return self.x if index == 0 else self.place(index - 1, VALUES, "i1")

    def run(self, index):
        out = self.place(index, VALUES, "i1")
        self.run_rows(
            index, self.input(index), out, Rows(0, (*self.image.shape(index), 1, 1)[0], 0)
        )
        mask = self.place(index, MASK, "u1")
        if mask is not None:
            self.call("mask", index, pointer(out), pointer(mask))
        out = self.place(index, VALUES, "i4" if index + 1 == len(self.image.layers) else "i1")
        return out[: self.image.active(index)].astype(np.int64).reshape(self.image.shape(index))

    def run_rows(self, index, values, out, rows):
        if self.image.layers[index]["kind"] == DENSE:
            rows = Rows(0, 1, 0)
        self.call("run", index, pointer(values), pointer(out), ctypes.byref(rows))

    def call(self, name, *arguments):
        getattr(self.library, "tinc_q8_" + name)(ctypes.byref(self.work), *arguments)

    def mask(self, index):
        mask = self.place(index, MASK, "u1")
        if mask is None:
            return None
        n = self.image.active(index)
        return (
            np.unpackbits(mask, bitorder="little")[:n].astype(bool).reshape(self.image.shape(index))
        )

    def propagate(self, index, chosen):
        for below in {index - 1, int(self.image.layers[index]["source"])}:
            if (
                below < index
                and self.delta(below) is not None
                and not self.tensor(below, DELTA).live
            ):
                self.delta(below)[:] = 0
        chosen = np.asarray(chosen, np.uint16)
        self.call("propagate", index, pointer(chosen), len(chosen))

    def update(self, index, chosen):
        chosen = np.asarray(chosen, np.uint16)
        self.call("update", index, pointer(chosen), len(chosen))


def pointer(array):
    return array.ctypes.data_as(ctypes.c_void_p)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    path = tmp_path_factory.mktemp("core") / "q8.so"
    subprocess.run(["gcc", *FLAGS, *TRAPS, *SOURCES, "-o", path], check=True)
    return ctypes.CDLL(str(path))


# ---- random networks ----

axes = st.tuples(st.integers(1, 3), st.integers(1, 3))


@st.composite
def windows(draw, shape, pool):
    """kernel, stride, padding that fit an image."""
    kernel = tuple(min(k, extent) for k, extent in zip(draw(axes), shape))
    if pool and draw(st.integers(0, 3)) == 0:
        return {"kernel": shape[:2]}  # global
    padding = (0,) * 4
    if draw(st.booleans()):
        padding = tuple(draw(st.integers(0, k - 1)) for k in kernel * 2)
    return {"kernel": kernel, "stride": draw(axes), "padding": padding}


def drawn_tensors(draw, train, extreme):
    """Weights and so on of a layer: its dict is completed once its shape is known."""
    trained = bool(train & TRAIN_WEIGHTS)
    weight_type = draw(st.sampled_from([INT16, INT8])) if trained else INT8
    more = {"train": train, "weight_type": weight_type, "step": 2.0 ** draw(st.integers(-7, 1))}
    if trained:
        more["eighths"] = draw(st.sampled_from([8, 8, 8, 4, 1]))
    if extreme:
        more["step"] = 2.0 ** draw(st.integers(-24, 20))
    return more


def fill(image, index, rng, extreme, edge):
    """Random tensors; extreme: any scale and bias, edge: weights at their limits."""
    layer = image.layers[index]
    trained = layer["flags"] & TRAIN_WEIGHTS
    w, scales = image.weights(index, active=False), image.scales(index, active=False)
    low, high = (LEAST_MASTER, MOST_MASTER) if layer["weight_type"] == INT16 else (-127, 127)
    if edge:
        w = rng.choice([low, 0, high], w.shape, p=[0.45, 0.1, 0.45])
    else:
        w = rng.integers(low, high + 1, w.shape) // rng.choice([1, 1, 16])
    image.set_weights(index, w)
    if extreme:
        exponents = rng.integers(-120, 16, scales.shape)
        if rng.integers(2):
            exponents[:] = rng.integers(-40, 16)
    else:
        exponents = rng.integers(-10, -6, scales.shape) - (w.size // len(scales)).bit_length() // 2
    scales[:] = 2.0**exponents if trained else 2.0**exponents * rng.uniform(1, 2, scales.shape)
    largest = 2 ** int(rng.integers(1, 31)) if extreme else 2**18
    image.bias(index, active=False)[:] = rng.integers(-largest, largest + 1, len(scales))


@st.composite
def networks(draw, most=4, convolutions=(conv, depthwise), settings_of=None):
    """(image, sample, rng): layers of all kinds and a dense one or two, with any weights."""
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    extreme, edge = draw(st.sampled_from([(0, 0), (0, 0), (0, 1), (1, 0), (1, 1)]))
    shape = draw(st.integers(1, 7)), draw(st.integers(1, 7)), draw(st.sampled_from([1, 2, 3, 8]))
    declared, shapes = [], [shape]
    for index in range(draw(st.integers(0, most))):
        sources = [i for i in range(index - 1) if shapes[i + 1] == shapes[-1]]
        kinds = [*convolutions, *convolutions, max_pool, average_pool] + [add] * bool(sources)
        kind = draw(st.sampled_from(kinds))
        if kind is add:
            layer = add(draw(st.sampled_from(sources)), step=2.0 ** draw(st.integers(-7, 1)))
        else:
            shape_of_window = draw(windows(shapes[-1], kind in (max_pool, average_pool)))
            channels = (draw(st.sampled_from([1, 2, 3, 4, 5, 8])),) if kind is conv else ()
            layer = kind(*channels, **shape_of_window)
        if kind in convolutions:
            layer |= drawn_tensors(draw, draw(st.sampled_from([3, 3, 1, 2, 0])), extreme)
        if kind not in (max_pool, average_pool):
            layer["activation"] = draw(st.sampled_from(images.ACTIVATIONS))
        declared.append(layer)
        shapes.append(
            images.network(shapes[-1], [layer, dense(1)]).shape(0)
            if kind is not add
            else shapes[-1]
        )
    if draw(st.booleans()):
        more = drawn_tensors(draw, draw(st.sampled_from([3, 3, 1, 2, 0])), extreme)
        more["activation"] = draw(st.sampled_from(["relu", "relu6"]))
        units = draw(st.integers(1, 9))
        declared.append(dense(units, draw(st.integers(1, units)), **more))
    last = drawn_tensors(draw, draw(st.sampled_from([3, 1, 2])), extreme)
    image = images.network(
        shape,
        [*declared, dense(draw(st.integers(1, 5)), **last)],
        q8=True,
        input_step=2.0 ** draw(st.integers(-7, 0)),
        seed=seed,
        generator=seed | 1,
        rule=draw(st.sampled_from([RULES.index("full"), RULES.index("sampled")])),
        learning_rate=2.0 ** draw(st.integers(-8, 3)),
        input_threshold=draw(st.sampled_from([0.0, 0.1, 0.5, 1.0])),
    )
    for index in filter(image.has_weights, range(len(image.layers))):
        fill(image, index, rng, extreme, edge)
    x = rng.choice([-127, 127], image.inputs) if edge else rng.integers(-127, 128, image.inputs)
    x = np.where(rng.random(image.inputs) < draw(st.sampled_from([0, 0.3, 0.8, 1])), 0, x)
    return image.seal(), x, rng


# ---- forward ----


@settings(max_examples=100)
@given(net=networks(), learning=st.booleans())
def test_forward(library, net, learning):
    image, x, _ = net
    expected = q8_reference.Q8(image.copy(), x, learning)
    engine = Engine(library, image, x, LEARN if learning else INFER)
    for index in range(len(image.layers)):
        np.testing.assert_array_equal(engine.run(index), expected.run(index))
        assert engine.tensor(index, VALUES).exponent == expected.exponents[index]
        if engine.mask(index) is not None:
            np.testing.assert_array_equal(engine.mask(index), expected.masks[index])
    assert engine.work.forward == expected.forward
    assert image.contents() == expected.image.contents()


@settings(max_examples=60)
@given(net=networks(most=2), data=st.data())
def test_strips(library, net, data):
    """Some rows of a layer, from no more rows of its input than they need."""
    image, x, _ = net
    assume(image.layers[0]["kind"] != DENSE)
    whole = q8_reference.Q8(image, x, learning=False).run(0)
    engine = Engine(library, image, x, INFER)
    start = data.draw(st.integers(0, len(whole) - 1))
    stop = data.draw(st.integers(start + 1, len(whole)))
    layer = image.layers[0]
    first = max(0, start * int(layer["stride"][0]) - int(layer["padding"][0]))
    row = x.reshape(image.shape(-1))[first:].astype(np.int8)
    out = np.full(whole[start:stop].size, -128, np.int8)
    engine.run_rows(0, np.ascontiguousarray(row), out, Rows(start, stop, first))
    np.testing.assert_array_equal(out.reshape(whole[start:stop].shape), whole[start:stop])


# ---- backward and update ----


def random_gradient(rng, n):
    kind = rng.integers(4)
    if kind == 0:
        return np.zeros(n, np.int64)
    d = rng.integers(-(2**15), 2**15 + 1, n)
    if kind == 1:
        return d >> rng.integers(0, 15, n)
    if kind == 2:
        d[rng.integers(n)] = 2**16 - 1  # which half of rounds up to one bit more
    return d


def chosen_of(rng, delta, most):
    """Some of the elements that are not 0, often all."""
    nonzero = np.flatnonzero(delta)
    if rng.integers(2):
        nonzero = nonzero[rng.random(len(nonzero)) < rng.choice([0.3, 0.7])]
    assert len(nonzero) <= most
    return nonzero


def step(library, image, x, rng):
    """One sample through both, with any gradient at the output, compared after every call."""
    expected = q8_reference.Q8(image.seal().copy(), x)
    engine = Engine(library, image, x)
    for index in range(len(image.layers)):
        engine.run(index)
        expected.run(index)
        expected.delta[index] = np.zeros(image.shape(index), np.int64)
        expected.delta_exponent[index] = 0
    last, first = len(image.layers) - 1, expected.first_trained
    expected.delta[last][:] = random_gradient(rng, image.classes)
    expected.delta_exponent[last] = int(rng.choice([-15, -15, -40, 10]))
    engine.delta(last)[:] = expected.delta[last]
    engine.tensor(last, DELTA).exponent = expected.delta_exponent[last]
    expected.live.add(last)
    for index in range(last, first - 1, -1):
        expected.settle(index)
        engine.call("settle", index)
        same_gradient(engine, expected, index)
        chosen = []
        if image.has_weights(index):
            chosen = chosen_of(
                rng, expected.delta[index], library.tinc_most_listed(engine.net, index)
            )
        if index > first:
            expected.propagate(index, chosen)
            engine.propagate(index, chosen)
            same_gradient(engine, expected, index - 1)
            engine.tensor(index - 1, DELTA).live = 1
            expected.live.add(index - 1)
            if engine.mask(index - 1) is not None:
                expected.gate(index - 1)
                engine.delta(index - 1)[:] = expected.delta[index - 1].ravel()
            if image.layers[index]["kind"] == ADD and image.layers[index]["source"] >= first:
                same_gradient(engine, expected, int(image.layers[index]["source"]))
        if image.layers[index]["flags"]:
            expected.update(index, chosen)
            engine.update(index, chosen)
            same_tensors(image, expected.image, index)
    assert engine.work.backward == expected.backward
    assert image.contents() == expected.image.contents()
    return expected


def same_gradient(engine, expected, index):
    np.testing.assert_array_equal(engine.delta(index), expected.delta[index].ravel())
    if expected.delta[index].any():
        assert engine.tensor(index, DELTA).exponent == expected.delta_exponent[index]


def same_tensors(image, expected, index):
    np.testing.assert_array_equal(image.weights(index, False), expected.weights(index, False))
    np.testing.assert_array_equal(image.scales(index, False), expected.scales(index, False))
    np.testing.assert_array_equal(image.bias(index, False), expected.bias(index, False))


@settings(max_examples=200)
@given(net=networks())
def test_step(library, net):
    step(library, *net)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3)),
    middle=st.sampled_from([conv(4, padding=1), depthwise(padding=1), conv(4, 1)]),
)
def test_gradients_of_unlike_exponents_add_up(library, seed, shape, middle):
    """At the fork of a residual network, with weights of any scale on the way."""
    image = images.network(
        shape, [conv(4, 1), middle, add(0), dense(3)], q8=True, seed=seed, generator=seed | 1
    )
    rng = np.random.default_rng(seed)
    scales = image.scales(1)
    scales[:] = 2.0 ** rng.integers(-50, 16) * 2.0 ** rng.integers(-12, 1, len(scales))
    step(library, image, rng.integers(-127, 128, image.inputs), rng)


@settings(max_examples=10)
@given(seed=st.integers(0, 2**32 - 1), kernel=st.sampled_from([12, 16, 23, 24]))
def test_large_averages(library, seed, kernel):
    layers = [conv(2, 1), average_pool(kernel, stride=1), dense(2)]
    image = images.network((24, 25, 1), layers, q8=True, seed=seed, generator=seed | 1)
    rng = np.random.default_rng(seed)
    step(library, image, rng.integers(-127, 128, image.inputs), rng)


# ---- whole steps ----


def topk(delta, k):
    """The k largest magnitudes, of equals the lower index first, zeros never; ascending."""
    order = np.argsort(-np.abs(delta), kind="stable")[:k]
    return np.sort(order[delta[order] != 0])


def reference_step(library, image, x, target):
    """What tinc_learn() does, by the reference, but for the loss and the rule's decisions, which
    have tests of their own: they are the engine's, on the reference's numbers."""
    expected, rules = q8_reference.Q8(image, x), Engine(library, image, x)
    last = len(image.layers) - 1
    for index in range(last + 1):
        logits = expected.run(index)
    figures = np.zeros(3, np.float32)
    logits = logits.astype(np.int32)
    trained = library.tinc_q8_loss(
        ctypes.byref(rules.work),
        *(pointer(logits), int(target), 1, pointer(figures)),
    )
    depth = 0
    expected.delta[last] = rules.delta(last).astype(np.int64)
    expected.delta_exponent[last] = rules.tensor(last, DELTA).exponent
    expected.live.add(last)
    for index in range(last, expected.first_trained - 1, -1) if trained else ():
        expected.settle(index)
        chosen = []
        if image.has_weights(index):
            k = image.active(index)
            if image.layers[index]["flags"]:
                rules.delta(index)[:] = expected.delta[index].ravel()
                rules.tensor(index, DELTA).exponent = expected.delta_exponent[index]
                k = library.tinc_q8_k(ctypes.byref(rules.work), index, depth)
                depth += 1
            chosen = topk(expected.delta[index].ravel(), k)
        if index > expected.first_trained:
            expected.delta.setdefault(index - 1, np.zeros(image.shape(index - 1), np.int64))
            expected.delta_exponent.setdefault(index - 1, 0)
            expected.propagate(index, chosen)
            expected.live.add(index - 1)
            expected.gate(index - 1)
        if image.layers[index]["flags"]:
            expected.update(index, chosen)
    return trained, expected.forward, expected.backward, float(figures[0])


def learn(library, image, x, target):
    engine = Engine(library, image, x)
    engine.work.busy and ctypes.memset(engine.work.busy, 0, 4)
    counts, figures = np.zeros(4 + len(image.layers), np.uint32), np.zeros(3, np.float32)
    code = library.tinc_learn(
        *(engine.net, pointer(engine.x), int(target), pointer(counts), pointer(figures)),
        *(pointer(engine.scratch), ctypes.c_size_t(8 * len(engine.scratch))),
    )
    assert code == 0
    return 1 - int(counts[0]), int(counts[2]), int(counts[3]), float(figures[0])


def stream(rng, shape, classes, count):
    """Samples of classes that differ by where they are bright."""
    bright = rng.integers(-60, 100, (classes, *shape))
    for i in range(count):
        x = bright[i % classes] + rng.integers(-27, 28, shape)
        yield np.where(x < 0, 0, x), i % classes


SMALL = {
    "convolutional": (
        (6, 6, 1),
        [conv(4, padding=1), max_pool(2), depthwise(3, padding=1), dense(9), dense(3)],
    ),
    "residual": (
        (5, 4, 2),
        [conv(4, 1), conv(4, padding=1), add(0), average_pool(2), dense(3)],
    ),
    "frozen below": ((4, 4, 2), [conv(5, 2, train=0, stride=2), dense(8), dense(3)]),
}


@pytest.mark.parametrize("weight_type", [INT16, INT8])
@pytest.mark.parametrize("name, rule", [*zip(SMALL, ["full", "tinyprop", "sampled"])])
def test_training(library, name, rule, weight_type):
    """200 steps bit for bit, after which the classes are told apart."""
    shape, declared = SMALL[name]
    typed = [{"weight_type": weight_type} | layer for layer in declared]
    typed = [layer | {"weight_type": INT8} if layer.get("train") == 0 else layer for layer in typed]
    image = images.network(
        shape,
        typed,
        q8=True,
        input_step=2.0**-6,
        rule=RULES.index(rule),
        learning_rate=2.0**-5,
        seed=1,
    )
    expected, losses = image.copy(), []
    for x, target in stream(np.random.default_rng(2), shape, 3, 200):
        found = learn(library, image, x, target)
        assert found == reference_step(library, expected, x, target)
        assert image.net[images.TRAINED] == expected.net[images.TRAINED]
        assert image.state["generator"] == expected.state["generator"]
        np.testing.assert_array_equal(image.layer_states, expected.layer_states)
        losses.append(found[3])
    assert np.mean(losses[-30:]) < 0.5 * np.mean(losses[:30])


@pytest.mark.parametrize("name", SMALL)
def test_a_step_goes_down_the_gradient(library, name):
    """Where the float64 gradient of the same weights goes."""
    shape, declared = SMALL[name]
    image = images.network(shape, declared, q8=True, input_step=2.0**-6, learning_rate=2.0**-8)
    x, target = next(stream(np.random.default_rng(5), shape, 3, 1))
    real = []
    for index, layer in enumerate(declared):
        fields = {k: v for k, v in layer.items() if k != "step"}
        if image.has_weights(index):
            fields["weights"] = image.real_weights(index)
            fields["bias"] = image.bias(index) * images.BIAS_UNIT
        real.append(fields)
    network = reference.Network(images.network(shape, real))
    before = image.copy()
    learn(library, image, x, target)
    gradients = network.gradients(x * 2.0**-6, target)
    moved, wanted = [], []
    for index, gradient in enumerate(gradients):
        if image.layers[index]["flags"]:
            moved.append((masters(image, index) - masters(before, index)).ravel())
            moved.append((image.bias(index) - before.bias(index)) * images.BIAS_UNIT)
            wanted += [-(2.0**-8) * each.ravel() for each in gradient]
    moved, wanted = np.concatenate(moved), np.concatenate(wanted)
    norms = np.linalg.norm(moved), np.linalg.norm(wanted)
    assert moved @ wanted > 0.98 * norms[0] * norms[1]
    assert norms[0] == pytest.approx(norms[1], rel=0.1)


def masters(image, index):
    """Real weights with the digits that only updates see."""
    depthwise = image.layers[index]["kind"] == DEPTHWISE
    return times_scales(image.weights(index) / 256, image.scales(index).astype("f8"), depthwise)
