"""A front end: trained on one dataset, frozen, and behind it a head that learns another."""

import numpy as np
import pytest
from rich.console import Console

import tinyinc
from board_helpers import ROOT, command, refused
from device_scripts import output
from tinyinc import image
from tinyinc_host import bench_front, data, demo, front, network
from tinyinc_host.export import fill_memory, memory_arrays, with_memory
from tinyinc_host.learning import protocols
from tinyinc_host.picture import draw
from tinyinc_host.pretrain import Schedule, accuracy, pretrain
from tinyinc_host.quantise import quantise

SHAPE = (12, 12, 1)
LAYERS = network.parse("conv4,max2,conv8/2")


def pictures(name, angles, shape, count=40, seed=0):
    """Pictures of stripes, a class for each angle; every third sample is for testing."""
    generator = np.random.default_rng(seed)
    height, width, colours = network.image_shape(shape)
    y, x = np.mgrid[:height, :width]
    labels = np.arange(count * len(angles)) % len(angles)
    phases = generator.uniform(0, 2 * np.pi, len(labels))
    turned = np.array(angles)[labels, None, None]
    waves = np.sin(x * np.cos(turned) + y * np.sin(turned) + phases[:, None, None])
    noise = generator.normal(0, 0.2, (*waves.shape, colours))
    samples = (127 + 80 * (waves[..., None] + noise)).clip(0, 255).astype(np.uint8)
    test = np.arange(len(labels)) // len(angles) % 3 == 2
    names = tuple(f"{angle:.1f}" for angle in angles)
    return data.dataset.split(name, samples.reshape(-1, *shape), labels, test, names, name)


@pytest.fixture(scope="module")
def coarse():
    """What the front end is trained on: in colour, larger than what it takes."""
    return pictures("coarse", [0.0, 0.8, 1.6, 2.4], (14, 14, 3))


@pytest.fixture(scope="module")
def trained(coarse):
    change = front.augmentation(coarse, SHAPE, shift=1, mirror=False)
    return front.pretrained(coarse, LAYERS, SHAPE, Schedule(8, 0.02), change)


@pytest.fixture(scope="module")
def fine(trained):
    """What the head learns: grey, smaller, other angles."""
    return front.fit(pictures("fine", [0.3, 1.2, 2.0], (10, 10)), trained)


@pytest.fixture(scope="module")
def heads(trained, fine):
    """A head that has learned all of it but the last class, in float32 and in integers; both with a
    memory of features in 4 bits."""
    net = front.behind(trained, fine, [network.dense(8)])
    rows, labels = fine.training([0, 1])
    pretrain(net, rows, labels, fine.labels, Schedule(8, 0.05), (fine.low, fine.high))
    made = []
    for one in (net, quantise(net, rows)):
        found = front.features(one, rows[:6])
        one = with_memory(one, 12, front.memory_range(one, found), 4)
        fill_memory(one, found, labels[:6], fine.labels)
        made.append(one)
    return made


def test_it_has_learned(trained, coarse):
    fitted = front.fit(coarse, trained)
    names = coarse.labels
    assert accuracy(trained, fitted.test_samples, fitted.test_labels, names) > 0.9
    found = front.features(trained, fitted.train_samples)
    assert found.shape == (len(coarse.train_labels), 72)
    assert front.feature_range(found) == pytest.approx((0, front.REACH), rel=0.05)


def test_it_is_frozen_as_it_was(trained, heads, fine):
    before = network.read(trained)[1]
    for net in heads:
        shape, layers = network.read(net)
        assert shape == SHAPE and front.layers_of(net) == 3
        assert [layer.train for layer in layers] == ["none"] * 3 + ["all"] * 2
        for layer, other in zip(layers[:3], before, strict=False):
            if layer.has_weights:
                error = 0 if net.format == "f32" else np.abs(other.weights).max() / 127
                assert np.abs(layer.weights - other.weights).max() <= error
        frozen = bytes(net.sections[image.FROZEN])
        counts = 4 * 9 + 8 * 36  # weights
        assert len(frozen) >= counts * (4 if net.format == "f32" else 1)
        for row, label in zip(*fine.training([2]), strict=True):
            net.learn(row, fine.labels[label])
        assert bytes(net.sections[image.FROZEN]) == frozen


def test_the_board_learns_a_class_and_keeps_the_others(heads, fine):
    """As the test before has made it."""
    for net in heads:
        for row, label in zip(*fine.training([0, 2]), strict=True):
            net.learn(row, fine.labels[label])
        assert accuracy(net, fine.test_samples, fine.test_labels, fine.labels) > 0.85
    answers = [[net.predict(row) for row in fine.test_samples] for net in heads]
    assert np.mean(np.array(answers[0]) == answers[1]) > 0.9


def test_features_in_integers(heads, fine):
    """The same as in float32, to the step and what the layers before add to that."""
    exact, integers = (front.features(net, fine.test_samples) for net in heads)
    step = image.feature_step(heads[1].sections[image.STRUCTURE])
    assert np.array_equal(integers, step * np.round(integers / step))
    clipped = exact.clip(None, 127 * step)
    assert np.abs(integers - clipped).max() < 0.05 * exact.max()
    assert np.abs(integers - clipped).mean() < step


def test_the_memory_keeps_features(trained, fine):
    net = front.behind(trained, fine, [network.dense(8)])
    rows, labels = fine.training([0, 1, 2])
    for row, label in zip(rows[:3], labels[:3], strict=True):
        net.learn(row, fine.labels[label])
    found = front.features(net, rows[:6])
    for one in (net, quantise(net, rows)):
        low, high = front.memory_range(one, found)
        one = with_memory(one, 6, (low, high), 4)
        fill_memory(one, found, labels[:6], fine.labels, 5)
        kept = memory_arrays(one.sections[image.MEMORY])
        assert one.memory.count == 6 and kept.weights.tolist() == [5] * 6
        most = min(high, 127.5 * 2 * kept.step) if one.format == "q8" else high
        recalled = np.array([x for x, _ in one.memory.samples()])
        assert np.abs(recalled - found.clip(0, most)).max() <= 17 * kept.step
        with pytest.raises(ValueError, match="1 distilled samples, the memory has room for 0"):
            fill_memory(one, found[:1], labels[:1], fine.labels)
    one = with_memory(net, 6)
    with pytest.raises(ValueError, match="exemplars have 144 values, the memory's have 72"):
        fill_memory(one, rows[:1], labels[:1], fine.labels)


def test_learning_features_is_learning_behind_the_front_end(trained, fine):
    """What experiments save time by."""
    real = front.behind(trained, fine, [network.dense(8)], seed=3)
    made = front.feature_dataset(trained, fine)
    shape, layers = network.read(real)
    alone = network.network((72,), layers[3:], scaling=(0, 1, 0, 2 * made.high))
    for i, label in enumerate(fine.train_labels):
        name = fine.labels[label]
        losses = (
            real.learn(fine.train_samples[i], name).loss,
            alone.learn(made.train_samples[i], name).loss,
        )
        assert losses[0] == pytest.approx(losses[1], rel=1e-4, abs=1e-6)
    assert made.shape == (72,) and 0 == made.low < made.high


def test_what_the_benchmark_measures(trained, fine):
    """On its head alone, in integers: the whole network does the same, lesson by lesson."""
    order = protocols.class_after_class(fine.train_labels, 1)
    assert sorted(order) == list(range(len(order)))
    assert len(set(fine.train_labels[order[:54]])) == 2 and len(order) == 81
    real = bench_front.board_network(trained, fine, 400, fine.train_samples[order[:54]], 1)
    assert real.memory.capacity == 10  # of 36 + 4 bytes
    alone, lessons = bench_front.head_alone(real, 1), front.feature_dataset(real, fine)
    for i in order:
        label = int(fine.train_labels[i])
        step = real.learn(fine.train_samples[i], label)
        assert step.loss == alone.learn(lessons.train_samples[i], label).loss
    for net in (real, alone):
        net.consolidate(lessons=round(0.3 * len(order)))
    for sample, x in zip(fine.test_samples, lessons.test_samples, strict=True):
        assert real.predict(sample) == alone.predict(x)
        assert real.confidence == alone.confidence
    found = bench_front.measure(trained, fine, 1, 400 / fine.train_samples.size)
    right = [real.predict(x) == y for x, y in zip(fine.test_samples, fine.test_labels, strict=True)]
    assert found.accuracy == pytest.approx(np.mean(right)) and found.accuracy > 0.8
    assert found.head_macs == 72 * 64 + 64 * 3
    assert found.front_macs == 144 * 9 * 4 + 9 * 36 * 8
    assert found.exemplars == 10 and found.memory_bytes == len(real.sections[image.MEMORY])
    assert found.frozen_bytes == len(real.sections[image.FROZEN])
    assert found.image_bytes == real.image_bytes and 0 < found.backward < 1


def test_pools_behind_a_relu_give_nothing_negative(fine):
    """To the head alone as to the whole network: both memories have the same steps."""
    layers = [*network.parse("conv4,max2,conv8/2,max3"), network.dense(2)]
    end = network.network(SHAPE, layers, front=4, raw_range=(fine.low, fine.high))
    real = bench_front.board_network(end, fine, 400, fine.train_samples[:50], 1)
    memories = [
        memory_arrays(net.sections[image.MEMORY]) for net in (real, bench_front.head_alone(real))
    ]
    assert memories[0].offset == memories[1].offset == 0
    assert memories[0].step == memories[1].step > 0


@pytest.mark.parametrize("index", [0, 1], ids=["f32", "q8"])
def test_weights_stay_in_flash(heads, index, tmp_path):
    """On the unix port they are used where they lie."""
    path = tmp_path / "head.tinc"
    heads[index].save(str(path))
    assert output("unix", ROOT / "tests" / "micro" / "frozen.py", path).endswith("PASS\n")


def test_the_demo_behind_it(trained, tmp_path):
    digits, quiet = front.fit(data.load("digits"), trained), Console(quiet=True)
    result = demo.show(digits, 0, "unix", quiet, True, tmp_path, draw, "q8", trained)
    assert result["accuracy_all_after"] > result["accuracy_all_no_memory"]
    assert 0.04 < result["memory_fraction"] <= 0.05
    assert (tmp_path / "learning.png").stat().st_size > 10000
    learned = tinyinc.load(str(tmp_path / "learned.tinc"))
    assert front.layers_of(learned) == 3 and learned.features == 72
    assert image.memory_bits(learned.sections[image.MEMORY]) == 4


# ---- pictures of other sizes and colours ----


def test_pictures_are_adapted():
    red = np.zeros((1, 4, 4, 3), np.uint8)
    red[..., 0] = 200
    assert front.adapt(red, (4, 4, 1)).tolist() == [[[[60]] * 4] * 4]  # 0.299 x 200
    grey = np.arange(1, 13, dtype=np.uint8).reshape(1, 3, 4, 1)
    assert front.adapt(grey, (3, 4, 3))[0, 1, 2].tolist() == [7, 7, 7]
    assert front.adapt(grey, (1, 2, 1)).ravel().tolist() == [6, 7]
    padded = front.adapt(grey, (6, 4, 1))[0, ..., 0]
    assert padded.sum(axis=1).tolist() == [0, 10, 26, 42, 0, 0]


def test_pictures_of_another_range(trained):
    digits = data.load("digits")  # 8 x 8, 0 to 16
    fitted = front.fit(digits, trained)
    assert (fitted.shape, fitted.low, fitted.high) == (SHAPE, 0, 255)
    before, after = digits.train_samples[5], fitted.train_samples[5].reshape(12, 12)
    assert np.array_equal(after[2:10, 2:10].ravel(), (before * (255 / 16)).round())
    assert after.sum() == after[2:10, 2:10].sum()


def test_augmentation_moves_and_mirrors(coarse):
    seen = coarse.train_samples[:50]
    plain = front.adapt(seen.reshape(-1, 14, 14, 3), (14, 14, 1))[..., 0]
    rows = front.augmentation(coarse, SHAPE, 1, True)(seen, np.random.default_rng(0))
    moved = set()
    for row, whole in zip(rows.reshape(-1, 12, 12), plain, strict=True):
        cuts = {
            (y, x, turn): whole[y : y + 12, x : x + 12][:, ::turn]
            for y in range(3)
            for x in range(3)
            for turn in (1, -1)
        }
        matches = [key for key, cut in cuts.items() if np.array_equal(cut, row)]
        assert matches
        moved.update(matches)
    assert len(moved) > 14


def test_what_does_not_fit(trained, coarse):
    keywords = pictures("spectra", [0.0, 1.0], (20, 11))
    signed = data.dataset.split(
        "signed",
        keywords.train_samples.reshape(-1, 20, 11).astype(np.int8),
        keywords.train_labels,
        keywords.train_labels * 0 + np.arange(len(keywords.train_labels)) % 3 == 0,
        ("a", "b"),
        "signed",
    )
    with pytest.raises(
        ValueError, match="signed has values of -128 to 127, the front end takes 0 to 255"
    ):
        front.fit(signed, trained)
    with pytest.raises(ValueError, match="signed has samples of 20 x 11, expected 12 x 12 x 1"):
        front.fit_shape(signed, SHAPE)
    flat = front.fit_shape(coarse, (coarse.inputs,))
    assert flat is coarse
    with pytest.raises(ValueError, match="expected 99: none but pictures"):
        front.fit_shape(coarse, (99,))
    for text in ("28", "28x28x1"):
        assert front.parse_shape(text) == tuple(map(int, text.split("x")))
    for text in ("", "28x", "0x4", "4x4x4x4", "axb"):
        with pytest.raises(ValueError, match="expected such as 28x28x1"):
            front.parse_shape(text)


# ---- the command ----


def test_from_a_front_end_to_a_board(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TINYINC_DATA", raising=False)

    def run(*arguments):
        done = command(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    few = ("--without", "eight,nine")
    layers = ("--hidden", "conv4,max2,conv8", "--shift", "1", "--epochs", "2")
    assert "128 features of 64 values" in run("front", "front.tinc", *layers, "--without", "zero")
    behind = ("--front", "front.tinc")
    run("train", "head.tinc", *behind, "--hidden", "16", "--epochs", "2", *few)
    run("distill", "few.npz", *behind, *few)
    run("export", "head.tinc", "few.npz", "board.tinc", "--slots", "50")
    run("quantise", "board.tinc", "q8.tinc")
    for name in ("board.tinc", "q8.tinc"):
        text = run("simulate", name, "--labels", "eight,nine", "--limit", "30")
        before, after = (float(part.split()[-1]) for part in text.split(" %")[:2])
        assert before > 50 and after > before
    assert "front end" in run("plan", "q8.tinc")

    run("train", "none.tinc", "--epochs", "1")
    assert refused(command("train", "x.tinc", "--front", "none.tinc"), "'none.tinc' has no front")
    assert refused(command("train", "x.tinc", "--front", "no.tinc"), "no.tinc")
    assert refused(command("front", "x.tinc", "--shape", "8by8"), "8by8", "28x28x1")
    assert refused(command("front", "x.tinc", "--hidden", "8,conv4"), "layer 1 (conv)")
    run("distill", "raw.npz", *few)
    assert refused(
        command("export", "head.tinc", "raw.npz", "x.tinc"), "64 values", "the memory's have 128"
    )
