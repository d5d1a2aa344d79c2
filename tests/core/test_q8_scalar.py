"""What an integer-only core does beside its layers: numbers, samples, the loss, the rules, the
memory, and capacity, each against float64 or exact fractions, with the error that the C states."""

import re
import subprocess
from fractions import Fraction
from math import floor, log2

import cffi
import numpy as np
import pytest
from conftest import ROOT, module_at
from hypothesis import assume, example, given
from hypothesis import strategies as st

import images
from images import INT8, INT16, RULES, dense

CORE = ROOT / "usermod_c" / "core"
OPTIMISED, PLAIN = ["-O2"], ["-O0"]
CHECKED = ["-O1", "-fsanitize=undefined", "-fno-sanitize-recover=all"]

words = st.integers(0, 2**32 - 1)
positive = st.integers(1, 2**32 - 1)
seeds = st.integers(0, 2**32 - 2)
ratios = st.floats(0, 1, width=32)


def declarations():
    """What cffi is to know: the public header, fixed.h, and the parts of internal.h at hand."""
    build = module_at(ROOT / "host_tools" / "_tinyinc" / "build.py")
    internal = (CORE / "internal.h").read_text(encoding="utf-8")
    work = re.search(r"typedef struct \{[^}]*\} tinc_work;", internal).group()
    calls = re.findall(r"^\w+ tinc_q8_(?:probabilities|loss|k)\(.*?;", internal, re.M | re.S)
    fixed = (CORE / "fixed.h").read_text(encoding="utf-8")
    fixed = re.sub(r"^inline (.*?\)) \{.*?^\}", r"\1;", fixed, flags=re.M | re.S)
    fixed = re.sub(r"^(#|static inline[^}]*}).*\n", "", fixed, flags=re.M)
    layers = (CORE / "q8.h").read_text(encoding="utf-8")
    calls += re.findall(r"^\w+ tinc_q8_shift\(.*?;", layers, re.M)
    words = "typedef uint32_t tinc_word;"
    return "\n".join([build.declarations(), work, *calls, words, fixed])


def library(folder, flags):
    made = folder / f"scalar{flags[0]}.so"
    sources = sorted(CORE.glob("*.c"))
    options = ["-std=c99", "-DTINYINC_F32=0", "-fPIC", "-shared", "-fno-strict-aliasing"]
    subprocess.run(["gcc", *options, *flags, *sources, "-o", made], check=True)
    return ffi.dlopen(str(made))


ffi = cffi.FFI()
ffi.cdef(declarations())


@pytest.fixture(scope="module")
def core(tmp_path_factory):
    return library(tmp_path_factory.mktemp("scalar"), CHECKED)


# ---- numbers ----


def bits_of(x):
    return int(np.float32(x).view("u4"))


def float_of(bits):
    return float(np.uint32(bits).view("f4"))


def exact(bits):
    return Fraction(float_of(bits))


def relative(found, expected):
    return abs(found / expected - 1)


ROUNDING = Fraction(101, 100 * 2**24)


@given(a=words, b=words)
def test_multiply_high(core, a, b):
    assert core.tinc_multiply_high(a, b) == a * b >> 32


@given(high=words, low=words, divisor=positive)
def test_divide(core, high, low, divisor):
    high %= divisor
    remainder = ffi.new("uint32_t *")
    quotient = core.tinc_divide(high, low, divisor, remainder)
    assert (quotient, remainder[0]) == divmod(high << 32 | low, divisor)


@given(x=st.one_of(words, st.integers(0, 32).map(lambda bit: (1 << bit) - 1)))
def test_bit_length(core, x):
    assert core.tinc_bit_length(x) == x.bit_length()


@given(v=st.integers(-(2**31) + 1, 2**31 - 1), s=st.integers(1, 31))
@example(v=2**31 - 1, s=1)
@example(v=-(2**31) + 1, s=1)
def test_shift_rounds_to_the_nearest(core, v, s):
    limit = 2**31 - 1
    assert core.tinc_q8_shift(v, -s, limit) == (v + (1 << s - 1)) >> s


@given(m=positive, e=st.integers(-150, 94))
def test_floats_are_rounded_to_the_nearest(core, m, e):
    value = Fraction(m) * Fraction(2) ** e
    found = exact(core.tinc_bits_of(m, e))
    if value < Fraction(2) ** -126:
        assert found == 0
    else:
        assert relative(found, value) <= Fraction(1, 2**24)


def test_floats_out_of_range(core):
    assert core.tinc_bits_of(0, 0) == 0
    assert core.tinc_bits_of(1, -127) == 0
    assert core.tinc_bits_of(1, -126) == bits_of(2.0**-126)
    assert float_of(core.tinc_bits_of(3, 200)) == 2.0**127


@given(x=st.floats(2.0**-126, 2.0**127, width=32), point=st.integers(-130, 140))
def test_fixed_point(core, x, point):
    expected = floor(Fraction(x) * Fraction(2) ** point + Fraction(1, 2))
    assert core.tinc_bits_fixed(bits_of(x), point) == min(expected, 2**32 - 1)


@given(x=st.floats(-1e9, 1e9, width=32), point=st.integers(-30, 60))
def test_fixed_point_of_any_float(core, x, point):
    assume(x == 0 or abs(x) >= 2.0**-126)
    magnitude = floor(abs(Fraction(x)) * Fraction(2) ** point + Fraction(1, 2))
    expected = min(magnitude, 1000000) * (1 if x > 0 else -1)
    assert core.tinc_fixed(x, point, 1000000) == expected


normal = st.floats(2.0**-60, 2.0**60, width=32)


@given(x=normal, y=normal, power=st.integers(-60, 60).map(lambda e: 2.0**e))
def test_arithmetic_on_floats(core, x, y, power):
    a, b = bits_of(x), bits_of(y)
    assert relative(exact(core.tinc_bits_multiply(a, b)), Fraction(x) * Fraction(y)) <= ROUNDING
    assert relative(exact(core.tinc_bits_divide(a, b)), Fraction(x) / Fraction(y)) <= ROUNDING
    assert relative(exact(core.tinc_bits_add(a, b)), Fraction(x) + Fraction(y)) <= ROUNDING
    assert exact(core.tinc_bits_multiply(a, bits_of(power))) == Fraction(x) * Fraction(power)
    assert exact(core.tinc_bits_divide(a, bits_of(power))) == Fraction(x) / Fraction(power)


@given(x=normal)
def test_arithmetic_with_zero(core, x):
    a = bits_of(x)
    assert core.tinc_bits_multiply(0, a) == core.tinc_bits_multiply(a, 0) == 0
    assert core.tinc_bits_divide(0, a) == 0
    assert core.tinc_bits_add(0, a) == core.tinc_bits_add(a, 0) == a
    assert core.tinc_bits_add(0, 0) == 0
    assert core.tinc_bits_multiply(1, a) == 0  # subnormal


def test_exp2(core):
    rng = np.random.default_rng(1)
    x = np.array([0, 1, 2**25 - 1, 2**25, *map(int, rng.integers(0, 126 << 25, 20000))])
    found = np.array([float_of(core.tinc_bits_exp2(int(value))) for value in x])
    assert abs(found / np.exp2(-x / 2.0**25) - 1).max() <= 1.5 * 2.0**-23
    assert found[0] == 1 and found[3] == 0.5
    assert core.tinc_bits_exp2(2**32 - 1) == 0


def test_log2(core):
    rng = np.random.default_rng(2)
    values = np.exp2(rng.uniform(-126, 127, 20000)).astype("f4")
    for x in [1 + 2.0**-23, 2 - 2.0**-23, *values]:
        missing = 65536 * log2(x) - core.tinc_bits_log2(bits_of(x))
        assert -1e-6 <= missing <= 1.001
    for e in range(-126, 127):
        assert core.tinc_bits_log2(bits_of(2.0**e)) == 65536 * e


# ---- networks ----


class Network:
    """An opened image and the calls on it."""

    def __init__(self, core, image):
        self.core, self.image = core, image
        self.buffers = [ffi.from_buffer(section) for section in image.net]
        self.net = ffi.new("tinc_net *")
        sizes = ffi.new("size_t[]", [len(section) for section in image.net])
        sections = ffi.new("void *[]", self.buffers)
        assert core.tinc_open(self.net, sections, sizes) == 0, self.fault()
        layers = len(image.layers)
        self.scratch = ffi.new("uint32_t[]", 70000)
        self.tensors = ffi.new("tinc_tensor[]", layers * core.TINC_ROLES)
        self.work = ffi.new("tinc_work *")
        self.work.net, self.work.tensors = self.net, self.tensors
        self.work.scratch = ffi.cast("uint8_t *", self.scratch)
        for layer in range(layers):
            self.delta_of(layer).bytes = 8

    def fault(self):
        text = ffi.new("char[96]")
        self.core.tinc_describe(ffi.addressof(self.net.fault), text)
        return ffi.string(text).decode()

    def delta_of(self, layer):
        return self.tensors[layer * self.core.TINC_ROLES + self.core.TINC_DELTA]

    def normalise(self, typecode, raw):
        x = ffi.new("int8_t[]", self.image.inputs)
        raw = np.asarray(raw, {"b": "i1", "B": "u1", "h": "i2", "H": "u2", "f": "f4"}[typecode])
        at = ffi.from_buffer(raw)
        result = self.core.tinc_normalise(self.net, at, len(raw), ord(typecode), x)
        return result, np.array(list(x))

    def loss(self, logits, target, lesson=1):
        """(trained, loss, error, probability, gradient)."""
        figures = ffi.new("float[3]")
        data = ffi.new("int32_t[]", [int(logit) for logit in logits])
        trained = self.core.tinc_q8_loss(self.work, data, target, lesson, figures)
        tensor = self.delta_of(len(self.image.layers) - 1)
        delta = ffi.cast("int32_t *", self.scratch)[0 : len(logits)]
        gradient = np.array(list(delta)) * 2.0**tensor.exponent
        assert tensor.live == 1
        return trained, *figures, gradient

    def k(self, layer, delta, exponent, depth):
        """The rule's k for a gradient of int32 mantissas."""
        ffi.cast("int32_t *", self.scratch)[0 : len(delta)] = [int(d) for d in delta]
        self.delta_of(layer).exponent = exponent
        return self.core.tinc_q8_k(self.work, layer, depth)

    def vote(self, q, probabilities):
        voted = ffi.new("float[]", [float(p) for p in probabilities])
        cls = self.core.tinc_vote(self.net, ffi.from_buffer(np.asarray(q, "u1")), voted)
        return cls, np.array(list(voted))


def network(core, capacity=(4, 6, 5), active=None, **more):
    return Network(core, images.build(capacity, active, q8=True, **more))


# ---- samples ----

RANGE = {"b": (-128, 127), "B": (0, 255), "h": (-32768, 32767), "H": (0, 65535)}


def steps(header, raw):
    """What a sample is in steps, before it is rounded."""
    offset, scale, step, low, high = (
        float(header[name])
        for name in ["input_offset", "input_scale", "input_step", "input_low", "input_high"]
    )
    x = np.clip((np.asarray(raw, "f8") - offset) * scale, low, high) / step
    return np.clip(x, -127, 127)


def bits_of_difference(typecode, offset):
    """Of integers of a type from the offset; floats get as many as a byte in 9 bits more."""
    if typecode == "f":
        return 16
    return round(max(abs(end - offset) for end in RANGE[typecode]) - 1e-3).bit_length()


@given(
    typecode=st.sampled_from("bBhHf"),
    exponent=st.integers(-24, 14),
    mantissa=st.floats(1, 2, width=32),
    sign=st.sampled_from([1, -1]),
    offset=st.floats(-4000, 4000, width=32),
    step=st.integers(-10, 10),
    clip=st.sampled_from([None, (-1.5, 2.0), (0.0, 1.0)]),
    seed=seeds,
)
def test_normalise(core, typecode, exponent, mantissa, sign, offset, step, clip, seed):
    """As near to the exact value as sample.c says, for any scale and offset."""
    rng = np.random.default_rng(seed)
    gain = 2.0**exponent * mantissa  # steps per raw unit
    if typecode == "f":
        gain *= 2.0 ** int(rng.integers(-30, 30))
    header = {"input_scale": sign * np.float32(gain * 2.0**step)}
    header["input_offset"] = np.float32(offset / gain)
    assume(abs(offset) / gain >= 2.0**-126 or offset == 0)
    bits = bits_of_difference(typecode, float(header["input_offset"]))
    assume(bits <= 28)
    clip = clip or (-128 * 2.0**step, 128 * 2.0**step)
    header |= dict(zip(["input_low", "input_high"], clip))
    net = network(core, (64, 3), input_step=2.0**step, header=header)
    low, high = RANGE.get(typecode, (0, 0))
    raw = rng.integers(low, high, 64, endpoint=True)
    near = float(header["input_offset"]) + rng.uniform(-140, 140, 64) / gain
    if typecode == "f":
        raw = near.astype("f4")
        error = 127 * 2.0**-14 + 2.0**-8 + 2.0**-10
    else:
        raw[:32] = np.clip(np.round(near[:32]), low, high)
        error = (127 + min(gain, 128)) * 2.0 ** (bits - 30) + 2.0**-10
        assert error <= 1 / 64 or bits > 16 or gain > 2**6
    result, x = net.normalise(typecode, raw)
    assert result == 0
    errors = np.abs(x - steps(net.image.header, raw))
    if typecode != "f" and gain >= 2.0 ** (29 - bits):  # all but the offset itself is cut
        errors = errors[abs(raw - float(header["input_offset"])) >= 1]
    assert (errors <= 1 / 2 + error).all()


def test_normalise_bytes_exactly(core):
    """The usual pixels: 0..255 to 0..127, each to its nearest step."""
    header = {"input_scale": 1 / 255, "input_low": 0, "input_high": 1}
    net = network(core, (256, 3), input_step=2.0**-7, header=header)
    result, x = net.normalise("B", np.arange(256))
    exact = steps(net.image.header, np.arange(256))
    assert result == 0 and x.min() == 0 and x.max() == 127
    assert (np.abs(x - exact) <= 1 / 2 + 1 / 64).all() and (np.diff(x) >= 0).all()


@pytest.mark.parametrize("exponent", [-20, 13, 14, 20])
def test_normalise_with_extreme_scales(core, exponent):
    """Integers are all but 0, or all but the offset is cut."""
    header = {"input_scale": 2.0 ** (exponent - 5), "input_offset": 2.0**-10}
    x = network(core, header=header).normalise("h", [-32768, -1, 1, 32767])[1].tolist()
    assert x == ([0] * 4 if exponent < 0 else [-127, -127, 127, 127])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("position", [0, 3])
def test_values_that_are_not_finite(core, value, position):
    net = network(core)
    raw = np.ones(4, "f4")
    raw[position] = value
    assert net.normalise("f", raw)[0] == core.TINC_E_SAMPLE_VALUE
    assert str(position) in net.fault()


def test_refused_samples(core):
    net = network(core)
    assert net.normalise("B", np.ones(3))[0] == core.TINC_E_SAMPLE_SIZE
    x, odd = ffi.new("int8_t[4]"), ffi.cast("uint8_t *", net.scratch) + 1
    assert core.tinc_normalise(net.net, odd, 4, ord("h"), x) == core.TINC_E_ALIGNMENT
    assert core.tinc_normalise(net.net, odd, 4, ord("d"), x) == core.TINC_E_SAMPLE_TYPE
    assert core.tinc_sample_bytes(net.net) == 4


@pytest.mark.parametrize("raw, expected", [(3e38, 127), (-3e38, -127), (0, 0), (1e-40, 0)])
def test_extreme_floats(core, raw, expected):
    assert (network(core).normalise("f", [raw] * 4)[1] == expected).all()


# ---- the loss ----


def softmax(logits):
    e = np.exp(np.maximum(np.asarray(logits, "f8") - max(logits), -65535) / 1024)
    return e / e.sum()


logit_lists = st.one_of(
    st.lists(st.integers(-32767, 32767), min_size=1, max_size=40),
    st.lists(st.integers(-3000, 3000), min_size=1, max_size=40),
    st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=5),
)


@given(logits=logit_lists)
def test_probabilities(core, logits):
    data, found = ffi.new("int32_t[]", logits), ffi.new("float[]", len(logits))
    assert core.tinc_q8_probabilities(data, len(logits), found) == np.argmax(logits)
    np.testing.assert_allclose(list(found), softmax(logits), rtol=2e-6, atol=1e-37)


def test_probabilities_of_many_classes(core):
    rng = np.random.default_rng(3)
    for n in (1, 2, 15, 16, 17, 1000, 65535):
        logits = rng.integers(-2000, 2000, n)
        data, found = ffi.new("int32_t[]", logits.tolist()), ffi.new("float[]", n)
        core.tinc_q8_probabilities(data, n, found)
        np.testing.assert_allclose(list(found), softmax(logits), rtol=1e-4)


@given(logits=logit_lists, data=st.data())
def test_loss(core, logits, data):
    n = len(logits)
    target = data.draw(st.integers(0, n - 1))
    net = network(core, (3, n))
    trained, loss, error, probability, gradient = net.loss(logits, target)
    p = softmax(logits)
    expected = p - (np.arange(n) == target)
    assert (trained, probability) == (1, 1)
    assert loss == pytest.approx(-np.log(p[target]), rel=1e-5, abs=2e-5)
    others = np.arange(n) != target
    assert abs(gradient - expected)[others].max(initial=0) <= 1.01 * 2**-15
    assert gradient.sum() == 0  # to the last bit: else all logits drift
    assert abs(error - abs(expected).sum()) <= 2.02 * n * 2**-15
    assert error == abs(gradient).sum()


def test_a_loss_beyond_all_doubt(core):
    """The gradient stays within 15 bits and a sign."""
    trained, loss, error, _, gradient = network(core, (3, 2)).loss([-32767, 32767], 0)
    assert (trained, error) == (1, 2 - 2.0**-14)
    assert loss == pytest.approx(65534 / 1024) and gradient.tolist() == [2.0**-15 - 1, 1 - 2.0**-15]


# ---- the rules ----


def local_error(net, logits, target):
    return network(net.core, (3, len(logits))).loss(logits, target)[2]


def xorshift(s):
    s ^= s << 13 & 0xFFFFFFFF
    s ^= s >> 17
    return s ^ (s << 5 & 0xFFFFFFFF)


@given(
    seed=seeds,
    threshold=st.floats(2.0**-19, 1e6, width=32),
    logits=st.lists(st.integers(-3000, 3000), min_size=2, max_size=9),
)
def test_sampled(core, seed, threshold, logits):
    """Trained with probability Y / threshold, by one draw, the gradient divided by that."""
    net = network(
        core, (3, len(logits)), rule=4, error_threshold=np.float32(threshold), generator=seed + 1
    )
    error = local_error(net, logits, 1)
    plain = network(core, (3, len(logits))).loss(logits, 1)[-1]
    trained, _, found_error, probability, gradient = net.loss(logits, 1)
    draw = xorshift(seed + 1)
    assert net.image.state["generator"] == draw and found_error == error
    chance = float(np.clip(error / np.float64(np.float32(threshold)), 2.0**-24, 1))
    assert abs(probability - chance) <= 2.0**-31 + chance * 2.0**-23
    if abs((draw >> 8) / 2**24 - chance) > 2.0**-23:
        assert trained == ((draw >> 8) / 2**24 < chance)
    if trained:
        np.testing.assert_allclose(gradient, plain / probability, rtol=2.0**-14)
    else:
        assert (gradient == 0).all()


def test_sampled_is_right_on_average(core):
    net = network(core, (3, 4), rule=4, error_threshold=4.0, generator=99)
    plain = network(core, (3, 4)).loss([300, 0, 0, 100], 1)[-1]
    total = sum(net.loss([300, 0, 0, 100], 1)[-1] for _ in range(4000)) / 4000
    np.testing.assert_allclose(total, plain, atol=0.05)


def expected_ratio(error, y_max, low, high):
    low, high = float(np.float32(low)), float(np.float32(high))
    if error >= y_max:
        return high if error > 0 else low
    return low + error / y_max * (high - low)


@given(
    y_max=st.one_of(st.just(0.0), st.floats(2.0**-10, 4, width=32)),
    d=st.tuples(ratios, ratios),
    beta=st.floats(0, 10, width=32),
    threshold=st.floats(0, 10, width=32),
    logits=st.lists(st.integers(-3000, 3000), min_size=2, max_size=9),
)
def test_tinyprop2_skips(core, y_max, d, beta, threshold, logits):
    settings = {"d_min": d[0], "d_max": d[1], "beta": beta, "d_threshold": threshold}
    net = network(core, (3, len(logits)), rule=3, **settings)
    net.image.layer_states["y_max"] = y_max
    error = local_error(net, logits, 0)
    trained, _, _, probability, gradient = net.loss(logits, 0)
    decision = expected_ratio(error, y_max, *d) * beta
    assert probability == trained and net.image.layer_states["y_max"] == max(error, y_max)
    assert (gradient != 0).any() == bool(trained and error > 0)
    if abs(decision - threshold) > 1e-7:
        assert trained == (decision >= threshold)


@pytest.mark.parametrize("ratio", [0.1, 0.3, 1.0])
def test_tinyprop2_trains_at_the_threshold_itself(core, ratio):
    net = network(core, (3, 2), rule=3, d_min=0, d_max=ratio, beta=1, d_threshold=ratio)
    assert net.loss([0, 5000], 0)[0]


def expected_k(n, ratio):
    return [int(np.clip(floor(n * ratio + 0.5 + shift), 1, n)) for shift in (-1e-4, 1e-4)]


@given(
    rule=st.sampled_from(["full", "static", "tinyprop", "tinyprop2", "sampled"]),
    n=st.one_of(st.integers(1, 40), st.sampled_from([1000, 65535])),
    layer=st.integers(0, 1),
    depth=st.integers(0, 3),
    exponent=st.integers(-40, 10),
    share=ratios,
    s=st.tuples(ratios, ratios),
    zeta=ratios,
    fraction=st.floats(0, 1.5),
    seed=seeds,
)
def test_k(core, rule, n, layer, depth, exponent, share, s, zeta, fraction, seed):
    capacity = (1, n, 3) if layer == 0 else (1, 3, n)
    net = Network(
        core,
        images.build(
            capacity,
            q8=True,
            rule=RULES.index(rule),
            static_ratio=share,
            hidden_ratio=share,
            s_min=s[0],
            s_max=s[1],
            zeta=zeta,
            label_bytes=8,
        ),
    )
    delta = np.random.default_rng(seed).integers(-32767, 32768, n)
    error = np.float32(abs(delta).sum() * 2.0**exponent)
    y_max = np.float32(fraction * float(error))
    net.image.layer_states["y_max"] = y_max
    k = net.k(layer, delta, exponent, depth)
    tinyprop = rule in ("tinyprop", "tinyprop2")
    if tinyprop:
        ratio = expected_ratio(error, y_max, *s) * zeta**depth
    elif rule == "full" or (rule == "sampled" and layer == 1):
        ratio = 1
    else:
        ratio = share
    low, high = expected_k(n, ratio)
    assert low <= k <= high
    after = max(error, y_max) if tinyprop else y_max
    assert net.image.layer_states["y_max"].tolist()[layer] == after


def test_k_at_the_largest_error(core):
    """Exactly s_max of the elements when the error is as large as ever, s_min when it is 0."""
    net = network(core, (1, 200, 3), rule=2, s_min=0.1, s_max=0.7)
    assert net.k(0, np.zeros(200), -18, 0) == 20  # the first sample of all
    delta = np.full(200, 9999)
    assert [net.k(0, delta, e, 0) for e in (-20, -18, -18)] == [140] * 3
    assert net.k(0, np.zeros(200), -18, 0) == 20
    assert net.k(0, delta, -30, 0) == 20


# ---- the memory ----


def memory_network(core, seed=0, **more):
    rng = np.random.default_rng(seed)
    more = {"slots": 12, "used": 9, "seed": seed, "generator": seed + 1} | more
    net = network(core, (5, 6, 5), (6, 4), **more)
    net.image.class_states["replayed"] = rng.integers(0, 3, 5)
    return net


@given(seed=seeds)
def test_samples_come_back(core, seed):
    net = memory_network(core)
    x = np.random.default_rng(seed).integers(-127, 128, 5).astype("i1")
    q, again = ffi.new("uint8_t[5]"), ffi.new("int8_t[5]")
    assert core.tinc_quantise(net.net, ffi.from_buffer(x), q) == 0
    assert [value - 128 for value in q] == x.tolist()
    assert core.tinc_remember(net.net, 9, q, 2) == 0
    assert core.tinc_recall(net.net, 9, again) == 2
    assert list(again) == x.tolist()
    net.image.slot_samples[9] = 0  # what no sample can be
    core.tinc_recall(net.net, 9, again)
    assert list(again) == [-127] * 5


@given(seed=seeds)
def test_choose_draws_evenly(core, seed):
    """The class replayed least, and of its slots the one that the draw's remainder names."""
    net = memory_network(core, seed)
    image = net.image
    classes = image.slot_classes[:9].tolist()
    best = min(set(classes), key=lambda cls: (image.class_states["replayed"][cls], cls))
    slots = [slot for slot, cls in enumerate(classes) if cls == best]
    expected = slots[(xorshift(seed + 1) >> 8) % len(slots)]
    assert core.tinc_choose(net.net, core.TINC_NONE) == expected


def vote_weight(image):
    share = min(int(image.memory["count"]) / (16 * image.classes), 1)
    return float(image.state["vote"]) * share / max(int(image.state["distance"]), 1)


def expected_vote(image, q, p):
    """In float64, as tinyinc.h says."""
    used = int(image.memory["count"])
    classes, samples = image.slot_classes[:used], image.slot_samples[:used].astype("i8")
    squared = ((samples - np.asarray(q, "i8")) ** 2).sum(axis=1)
    usual = max(int(image.state["distance"]), 1)
    d = {cls: int(squared[classes == cls].min()) for cls in set(classes.tolist())}
    log = np.log(np.maximum(np.asarray(p, "f8"), 1e-30))
    log -= [vote_weight(image) * d.get(cls, usual) for cls in range(image.classes)]
    e = np.exp(log - log.max())
    return e / e.sum()


def point_of(image):
    """Bits behind the point that the C keeps of evidence in powers of two."""
    weight = vote_weight(image) * log2(np.e)
    return min(16, 30 - floor(log2(weight * 65025 * image.inputs)) - 1)


def farthest(image, q):
    """The largest evidence in powers of two."""
    weight = vote_weight(image) * log2(np.e)
    difference = image.slot_samples[: int(image.memory["count"])].astype("i8") - np.asarray(q)
    return weight * int((difference**2).sum(axis=1).max())


@given(
    seed=seeds,
    vote=st.floats(2.0**-9, 100, width=32),
    distance=st.integers(0, 32).map(lambda bits: (1 << bits) - 1),
    spread=st.sampled_from([1, 20, 200]),
)
def test_vote(core, seed, vote, distance, spread):
    net = memory_network(core, seed, vote=vote, distance=distance)
    rng = np.random.default_rng(seed)
    q = np.clip(net.image.slot_samples[0] + rng.integers(-spread, spread + 1, 5), 1, 255)
    p = softmax(rng.normal(0, 3000, 4)).astype("f4")
    expected = expected_vote(net.image, q, p)
    cls, found = net.vote(q, p)
    # in powers of two: of log p, d and their sum, of all but the last digits, and of float32's
    error = 3 * 2.0 ** -point_of(net.image) + 2.0**-22 * farthest(net.image, q)
    assert cls == np.argmax(found)
    assert (found <= expected * 2.0**error * 1.0001 + 1e-30).all()
    assert (found >= expected * 2.0**-error * 0.9999 - 1e-30).all()


def test_vote_tells_far_classes_apart(core):
    """Nothing differed so far, so that any difference tells, however far both are."""
    net = network(core, (784, 3), slots=3, used=3, vote=100.0, distance=0)
    net.image.slot_classes[:] = [0, 1, 2]
    net.image.slot_samples[:] = 255
    net.image.slot_samples[1, 0] = 254
    assert net.vote(np.full(784, 1), [0.5, 0.25, 0.25])[0] == 1


def test_a_class_without_exemplars_lies_at_the_usual_distance(core):
    """Nearer classes win over it, farther ones lose, however many and far they are."""
    for far, winner in (1, 0), (20, 11):
        net = network(core, (300, 12), slots=11, used=11, vote=100.0, distance=300 * 100)
        net.image.slot_classes[:] = range(11)
        net.image.slot_samples[:] = 255
        net.image.slot_samples[0] = 1 + far
        assert net.vote(np.full(300, 1), [1 / 12] * 12)[0] == winner


def test_a_vote_of_nothing(core):
    p = [0.25, 0.5, 0.125, 0.125]
    for more in {"vote": 0.0}, {"vote": 1.0, "used": 0}:
        cls, found = memory_network(core, **more).vote([9] * 5, p)
        assert cls == 1 and found.tolist() == p


# ---- capacity ----


def resizable(core, seed=0, weight_type=INT16):
    """6 inputs; 4 of 9 and 3 of 7 hidden units, 3 of 6 classes in use, and a memory."""
    layers = [dense(n, active, weight_type=weight_type) for n, active in [(9, 4), (7, 3), (6, 3)]]
    image = images.network((6,), layers, q8=True, slots=8, used=7, seed=seed, generator=seed + 1)
    image.class_states["replayed"] = [5, 3, 4, 9, 9, 9]
    return Network(core, image)


def all_of(image, layer):
    """Active weights in real units, biases and scales of a layer."""
    return image.real_weights(layer).copy(), image.bias(layer).copy(), image.scales(layer).copy()


@pytest.mark.parametrize("weight_type", [INT8, INT16])
@given(seed=st.integers(0, 9999), units=st.integers(1, 3))
def test_grow_a_hidden_layer(core, weight_type, seed, units):
    net = resizable(core, seed, weight_type)
    (w, bias, scales), (w_next, bias_next, scales_next) = (all_of(net.image, i) for i in (0, 1))
    assert core.tinc_grow(net.net, 0, units) == 0
    (w2, bias2, scales2), (w2_next, bias2_next, scales2_next) = (
        all_of(net.image, i) for i in (0, 1)
    )
    assert net.image.active(0) == 4 + units
    np.testing.assert_array_equal(w2[:4], w)
    np.testing.assert_array_equal(w2_next[:, :4], w_next)
    np.testing.assert_array_equal(bias2, [*bias, *[0] * units])
    np.testing.assert_array_equal(bias2_next, bias_next)
    np.testing.assert_array_equal(scales2_next, scales_next)
    steps = 1.0 / scales2[4:]  # He's bound is 1 here
    assert ((steps >= 47.5) & (steps <= 95)).all() and (np.log2(scales2[4:]) % 1 == 0).all()
    assert (abs(w2[4:]) <= 1 + 0.51 * scales2[4:, None]).all()
    outgoing = 0.5 * (6 / (4 + units)) ** 0.5
    assert (abs(w2_next[:, 4:]) <= outgoing + 0.51 * scales_next[:, None]).all()
    assert (abs(net.image.int8_weights(0)) < 96).all()
    assert core.tinc_check(net.net) in (0, core.TINC_E_STRUCTURE_CRC, core.TINC_E_SECTION_CRC)


def test_grown_weights_spread_over_their_bounds(core):
    for inputs in (1, 3, 24, 1000, 65535):
        units = 200 if inputs < 1000 else 3
        net = network(core, (inputs, units, 6), (1, 6))
        core.tinc_grow(net.net, 0, units - 1)
        image = net.image
        incoming = image.weights(0)[1:] / 256 * image.scales(0)[1:, None] * (inputs / 6) ** 0.5
        assert abs(incoming).max() <= 1.001
        assert (abs(image.int8_weights(0)[1:]) < 96).all()
        if incoming.size > 1000:
            assert incoming.std() == pytest.approx(3**-0.5, rel=0.05)
            assert abs(incoming.mean()) < 0.05
        if units > 3:
            bound = 0.5 * (6 / units) ** 0.5
            outgoing = image.weights(1)[:, 1:] / 256 * image.scales(1)[:, None] / bound
            assert abs(outgoing).max() <= 1.01
            assert outgoing.std() == pytest.approx(3**-0.5, rel=0.05)


@pytest.mark.parametrize("scale", [2.0**-8, 2.0**-20])
@given(seed=seeds)
def test_outgoing_weights_fit_rows_of_tiny_scales(core, scale, seed):
    net = resizable(core, seed % 9999)
    net.image.scales(1)[:] = scale
    assert core.tinc_grow(net.net, 0, 3) == 0
    assert (abs(net.image.int8_weights(1)) < 96).all()


def test_a_new_class_starts_level(core):
    net = resizable(core)
    assert core.tinc_grow(net.net, 2, 2) == 0
    image = net.image
    assert (image.weights(2)[3:] == 0).all() and (image.bias(2)[3:] == 0).all()
    assert (image.scales(2)[3:] == 2.0**-6).all()  # He's bound, sqrt 2, is 90.5 steps
    assert image.class_states[3:5].tolist() == [(0, 3), (0, 3)]


def test_classes_before_hidden_units(core):
    """A class that has nothing to take yet gets a scale that suits what comes later."""
    net = network(core, (4, 8, 3), (0, 0))
    assert core.tinc_grow(net.net, 1, 2) == 0
    assert core.tinc_grow(net.net, 0, 8) == 0
    assert (net.image.scales(1) == 2.0**-5).all()  # He's bound, sqrt 6, is 78.4 steps
    assert net.image.int8_weights(1).any()


@pytest.mark.parametrize("weight_type", [INT8, INT16])
@pytest.mark.parametrize("layer", [0, 1, 2])
@given(seed=st.integers(0, 9999), data=st.data())
def test_shrink(core, weight_type, layer, seed, data):
    net = resizable(core, seed, weight_type)
    image = net.image
    last = image.active(layer) - 1
    unit = data.draw(st.integers(0, last))
    kept = [last if u == unit else u for u in range(last)]
    expected = [values[kept] for values in all_of(image, layer)]
    next_expected = image.real_weights(layer + 1)[:, kept] if layer < 2 else None
    assert core.tinc_shrink(net.net, layer, unit) == 0
    for found, values in zip(all_of(image, layer), expected):
        np.testing.assert_array_equal(found, values)
    if layer < 2:
        np.testing.assert_array_equal(image.real_weights(layer + 1), next_expected)
        assert (image.weights(layer + 1, active=False)[: image.active(layer + 1), last] == 0).all()
    assert (image.weights(layer, active=False)[last, : image.active(layer - 1)] == 0).all()


@pytest.mark.parametrize("weight_type", [INT8, INT16])
@given(seed=st.integers(0, 9999), layer=st.integers(0, 1))
def test_least_useful(core, weight_type, seed, layer):
    net = resizable(core, seed, weight_type)
    image = net.image
    w, bias = image.weights(layer), image.bias(layer) * 2.0**-20
    unit = 1 if weight_type == INT8 else 256
    scales, next_scales = image.scales(layer) / unit, image.scales(layer + 1) / unit
    incoming = abs(w).sum(axis=1) * scales + abs(bias)
    outgoing = (abs(image.weights(layer + 1)) * next_scales[:, None]).sum(axis=0)
    use = incoming * outgoing
    assert use[core.tinc_least_useful(net.net, layer, 0)] <= use.min() * (1 + 1e-6)
    spread = int(use.max() / use.min())
    assert core.tinc_least_useful(net.net, layer, max(spread - 1, 1)) >= 0
    assert core.tinc_least_useful(net.net, layer, spread + 2) == core.TINC_E_UNIT


def test_what_cannot_be_resized(core):
    image = images.network(
        (4, 4, 2), [images.conv(3, 3), dense(5), dense(3, train=0), dense(4)], q8=True
    )
    net = Network(core, image)
    for layer in 0, 1, 2, 4:
        assert core.tinc_grow(net.net, layer, 0) == core.TINC_E_LAYER
        assert core.tinc_shrink(net.net, layer, 0) == core.TINC_E_LAYER
    assert core.tinc_least_useful(net.net, 0, 0) == core.TINC_E_LAYER
    assert core.tinc_least_useful(net.net, 1, 0) >= 0
    assert core.tinc_grow(net.net, 3, 0) == 0


# ---- always the same ----


def trajectory(core):
    """Everything that a few hundred calls leave behind."""
    rng = np.random.default_rng(7)
    seen = []
    header = {"input_scale": 0.013, "input_offset": 7.7}
    image = images.build(
        (9, 8, 6), (5, 4), q8=True, slots=20, used=9, rule=4, vote=1.5, distance=9999, header=header
    )
    net = Network(core, image)
    for _ in range(100):
        x = net.normalise("h", rng.integers(-9000, 9000, 9))[1]
        x = np.concatenate([x, net.normalise("f", rng.normal(0, 3000, 9))[1]])
        result = net.loss(rng.integers(-4000, 4000, 4), int(rng.integers(4)))
        cls, voted = net.vote(rng.integers(1, 256, 9), rng.dirichlet(np.ones(4)))
        slot = core.tinc_choose(net.net, core.TINC_NONE)
        core.tinc_move(net.net, slot, ffi.from_buffer(rng.integers(1, 256, 9, "u1")))
        k = net.k(0, rng.integers(-9999, 9999, 5), -20, 1)
        seen.append((x.tolist(), result[:4], result[4].tolist(), cls, voted.tolist(), slot, k))
    core.tinc_grow(net.net, 0, 3)
    core.tinc_grow(net.net, 1, 2)
    core.tinc_shrink(net.net, 0, 2)
    return seen, image.contents()


def test_compilers_agree(core, tmp_path):
    expected = trajectory(core)
    for flags in OPTIMISED, PLAIN:
        assert trajectory(library(tmp_path, flags)) == expected
