"""A frozen front end: layers pre-trained on one dataset, behind which a head learns another.

    change = augmentation(cifar, (28, 28, 1), shift=2, mirror=True)
    layers = parse("conv16,max2,conv32,max2,conv32/2")
    front = pretrained(cifar, layers, (28, 28, 1), Schedule(10, 0.007), change)
    front.save("front.tinc")                        # `tinyinc front` does all this
    mnist = fit(data.load("mnist"), front)          # samples as the front end takes them
    net = behind(front, mnist, [dense(64)])         # in integers through quantise(), as any network

A front end is an image whose header says how many of its first layers it has: the network that was
pre-trained, whose own head is left behind. One that PyTorch has trained becomes such an image by
network(shape, from_torch(...), front=n, ...).save(path). On the board it runs once per sample, its
weights may stay in flash, and the memory keeps what it gives: the features.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from rich.progress import Progress

import tinyinc
from tinyinc import image
from tinyinc_host import network
from tinyinc_host.data import Dataset
from tinyinc_host.network import Layer
from tinyinc_host.pretrain import Change, Schedule, pretrain, typecode
from tinyinc_host.quantise import Scaling, feature_range

LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)  # of red, green and blue: ITU-R BT.601
SAMPLED = 500  # training samples that tell how large features are
REACH = 1.2  # of features, by feature_range(), where they were trained


def layers_of(net: tinyinc.Net) -> int:
    """How many layers of a network are its front end, 0 without one."""
    return image.front_layers(net.sections[image.STRUCTURE])


def pretrained(
    dataset: Dataset,
    layers: Sequence[Layer],
    shape: Sequence[int],
    schedule: Schedule,
    change: Change | None = None,
    classes: Sequence[int] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> tinyinc.Net:
    """Train layers with an output for every class on a dataset: the layers are the front end.

    shape: of the samples that the layers take, as fit_shape() gives them; change: see pretrain();
    classes: of the dataset, if not all. In the end the features are scaled, so that the learning
    rates of usual heads suit them.
    """
    chosen = list(range(len(dataset.labels))) if classes is None else list(classes)
    plain, labels = fit_shape(dataset, shape).training(chosen)
    rows = dataset.training(chosen)[0] if change else plain
    raw_range = (dataset.low, dataset.high)
    layers, front = [*layers, network.dense(len(chosen))], len(layers)
    more = {"raw_range": raw_range, "label_bytes": dataset.label_bytes}
    net = network.network(shape, layers, seed=seed, **more)
    pretrain(net, rows, labels, dataset.labels, schedule, raw_range, seed, progress, change)
    more |= {"labels": net.labels, "front": front}
    _, layers = network.read(net)
    few = plain[np.random.default_rng(seed).permutation(len(plain))[:SAMPLED]]
    high = feature_range(features(network.network(shape, layers, **more), few))[1]
    return network.network(shape, _scaled(layers, front, REACH / high), **more)


def _scaled(layers: Sequence[Layer], front: int, factor: float) -> list[Layer]:
    """The layers with features so many times as large. The last one of the front end with weights
    does it, as ReLU and pools keep a factor; where something follows that does not, they stay."""
    for index in reversed(range(front)):
        layer = layers[index]
        if layer.has_weights and layer.activation != "relu6":
            by = {"weights": factor * layer.weights, "bias": factor * layer.bias}
            after = replace(layers[front], weights=layers[front].weights / factor)
            return [*layers[:index], replace(layer, **by), *layers[index + 1 : front], after]
        if not layer.kind.endswith("pool"):
            break
    return list(layers)


def behind(
    front: tinyinc.Net, dataset: Dataset, hidden: Sequence[Layer], seed: int = 0
) -> tinyinc.Net:
    """The front end, frozen, and behind it a head for a dataset that fit() has made fit: layers
    that learn, without weights as yet, and room for its classes. In float32, without memory."""
    count = layers_of(front)
    shape, layers = network.read(front)
    layers = [*layers[:count], *hidden, network.dense(len(dataset.labels))]
    more = {"scaling": Scaling.of(front).as_tuple(), "label_bytes": dataset.label_bytes}
    return network.network(shape, layers, front=count, seed=seed, **more)


def untrained(
    dataset: Dataset, hidden: Sequence[Layer], seed: int = 0, front: tinyinc.Net | None = None
) -> tinyinc.Net:
    """Hidden layers without weights as yet, and room for a dataset's classes: a network of its own,
    or a head behind() a front end. In float32, without memory."""
    if front:
        return behind(front, dataset, hidden, seed)
    more = {"label_bytes": dataset.label_bytes}
    if all(layer.kind == "dense" for layer in hidden):
        return tinyinc.create(
            inputs=dataset.inputs,
            classes=len(dataset.labels),
            hidden=[layer.units for layer in hidden],
            range=(dataset.low, dataset.high),
            memory=0,
            seed=seed + 1,
            **more,
        )
    layers = [*hidden, network.dense(len(dataset.labels))]
    more["raw_range"] = dataset.low, dataset.high
    return network.network(network.image_shape(dataset.shape), layers, seed=seed, **more)


# ---- features ----


def features(net: tinyinc.Net, rows: np.ndarray) -> np.ndarray:
    """What a network's front end gives for raw samples: (count, features), float32; in q8 they are
    multiples of the step."""
    step = image.feature_step(net.sections[image.STRUCTURE]) if net.format == "q8" else 1.0
    kind = typecode(rows)
    found = np.empty((len(rows), net.features), np.float32)
    for i, row in enumerate(rows):
        found[i] = np.float32(step) * np.asarray(net.take(array(kind, row.tobytes())), np.float32)
    return found


def memory_range(net: tinyinc.Net, exemplars: np.ndarray) -> tuple[float, float] | None:
    """What a network's memory should cover, by exemplars; None where it has no front end, and the
    samples' own range is what it covers."""
    return feature_range(exemplars) if layers_of(net) else None


def feature_dataset(net: tinyinc.Net, dataset: Dataset) -> Dataset:
    """A dataset of the features of another: to learn these is to learn behind the front end, which
    has run once for all."""
    train, test = features(net, dataset.train_samples), features(net, dataset.test_samples)
    low, high = feature_range(train)
    return replace(
        dataset, train_samples=train, test_samples=test, low=low, high=high, shape=(net.features,)
    )


# ---- samples as a front end takes them ----


def parse_shape(text: str) -> tuple[int, ...]:
    """28x28x1, say; ValueError for anything else."""
    sizes = text.split("x")
    if not 1 <= len(sizes) <= 3 or not all(n.isdecimal() and int(n) > 0 for n in sizes):
        raise ValueError(f"shape is '{text}', expected such as 28x28x1: height, width, colours")
    return tuple(map(int, sizes))


def fit(dataset: Dataset, net: tinyinc.Net) -> Dataset:
    """The dataset, its samples as a network's front end takes them; ValueError where they cannot
    be. Pictures get its shape, colours and range; of others, values stay as they are: a board's
    sensor should measure in the same units."""
    scaling = Scaling.of(net)
    ends = (scaling.offset + end / scaling.scale for end in (scaling.low, scaling.high))
    low, high = (float(f"{end:.6g}") for end in ends)  # they were float32
    if (dataset.low < 0) != (scaling.low < 0):
        raise ValueError(
            f"dataset {dataset.name} has values of {dataset.low:g} to {dataset.high:g}, the front "
            f"end takes {low:g} to {high:g}"
        )
    dataset = fit_shape(dataset, network.read(net)[0])
    if is_picture(dataset) and not np.isclose(dataset.high, high):
        train, test = (
            (rows * (high / dataset.high)).round().clip(low, high).astype(np.uint8)
            for rows in (dataset.train_samples, dataset.test_samples)
        )
        dataset = replace(dataset, train_samples=train, test_samples=test)
    return replace(dataset, low=low, high=high)


def is_picture(dataset: Dataset) -> bool:
    """Whether samples are pictures: rows and columns of uint8, in 1 or 3 colours."""
    colours = network.image_shape(dataset.shape)[2]
    return dataset.train_samples.dtype == np.uint8 and len(dataset.shape) > 1 and colours in (1, 3)


def fit_shape(dataset: Dataset, shape: Sequence[int]) -> Dataset:
    """The dataset with samples of another shape; only pictures can be adapted, see adapt()."""
    shape, own = tuple(shape), dataset.shape
    if shape in (own, network.image_shape(own), (dataset.inputs,)):
        return dataset
    check_pictures(dataset, shape)

    def adapted(rows: np.ndarray) -> np.ndarray:
        made = adapt(rows.reshape(-1, *network.image_shape(own)), shape)
        return made.reshape(len(rows), -1)

    train, test = adapted(dataset.train_samples), adapted(dataset.test_samples)
    return replace(dataset, train_samples=train, test_samples=test, shape=shape)


def check_pictures(dataset: Dataset, shape: Sequence[int]) -> None:
    """ValueError unless samples are pictures that can be made others of this shape."""
    if not is_picture(dataset) or len(shape) != 3 or shape[2] not in (1, 3):
        by = (" x ".join(map(str, s)) for s in (dataset.shape, shape))
        raise ValueError(
            "dataset {} has samples of {}, expected {}: none but pictures can be adapted".format(
                dataset.name, *by
            )
        )


def adapt(pictures: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Pictures (count, height, width, 1 or 3 colours; uint8) as others of height x width x colours:
    grey by luminance or three times the same grey, then the middle is cut out, or put into black.
    """
    height, width, colours = shape
    if colours < pictures.shape[3]:
        pictures = (pictures @ LUMINANCE).round().astype(np.uint8)[..., None]
    elif colours > pictures.shape[3]:
        pictures = pictures.repeat(3, axis=3)
    return _middle(_middle(pictures, 1, height), 2, width)


def _middle(pictures: np.ndarray, axis: int, size: int) -> np.ndarray:
    """Cut or padded with 0 to a size along one axis."""
    spare = pictures.shape[axis] - size
    before = abs(spare) // 2
    if spare >= 0:
        return pictures.take(range(before, before + size), axis)
    edges = [(before, -spare - before) if i == axis else (0, 0) for i in range(4)]
    return np.pad(pictures, edges)


def augmentation(dataset: Dataset, shape: Sequence[int], shift: int, mirror: bool) -> Change:
    """For pretrain(): from a dataset's pictures those of another shape, as adapt() makes them, but
    moved at random by up to `shift` pixels, and every second one mirrored where asked for."""
    check_pictures(dataset, shape)
    source, (height, width, colours) = network.image_shape(dataset.shape), shape
    padded = (height + 2 * shift, width + 2 * shift, colours)

    def change(rows: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        pictures = adapt(rows.reshape(-1, *source), padded)
        moves = generator.integers(0, 2 * shift + 1, (len(rows), 2))
        turned = generator.random(len(rows)) < (0.5 if mirror else 0)
        made = np.empty((len(rows), *shape), rows.dtype)
        for i, ((y, x), turn) in enumerate(zip(moves, turned, strict=True)):
            picture = pictures[i, y : y + height, x : x + width]
            made[i] = picture[:, ::-1] if turn else picture
        return made.reshape(len(rows), -1)

    return change
