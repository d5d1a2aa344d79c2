"""The protocols of the learning benchmark: which lessons there are, and what is tested."""

from dataclasses import replace

import numpy as np
import pytest

from tinyinc_host.data import Dataset
from tinyinc_host.learning.protocols import PROTOCOLS, Part, joint
from tinyinc_host.learning.settings import held_out, peak, smaller, spectrum


def make(train=120, test=60, classes=5, shape=(4,), **more):
    """Samples whose first value is their number, so that each can be told from the others."""
    generator = np.random.default_rng(0)
    samples = generator.integers(-99, 99, (train + test, int(np.prod(shape)))).astype(np.int16)
    samples[:, 0] = np.arange(train + test)
    labels = generator.permutation(np.arange(train + test) % classes)
    halves = samples[:train], labels[:train], samples[train:], labels[train:]
    names = tuple("abcdefgh"[:classes])
    return Dataset("made", *halves, names, -99.0, 999.0, shape, **more)


def numbers(part):
    return part.samples[:, 0].tolist()


def courses(protocol, dataset, seed=0, drift="", validation=False):
    return PROTOCOLS[protocol](dataset, drift, seed, validation)


def test_two_classes_at_a_time_every_sample_once():
    dataset = make()
    (course,) = courses("b", dataset)
    labels = course.lessons.labels.tolist()
    order = list(dict.fromkeys(labels))
    for position, label in enumerate(labels):
        where = [order.index(later) // 2 for later in labels[position:]]
        assert min(where) == order.index(label) // 2  # never back to an earlier pair
    assert sorted(numbers(course.lessons)) == list(range(120))
    assert numbers(course.tests["all"]) == list(range(120, 180)) and course.before is None
    pair = [label for label in labels if label in order[:2]]
    assert pair not in (sorted(pair), sorted(pair, reverse=True))  # mixed within a pair


@pytest.mark.parametrize("protocol", ["b", "c"])
def test_the_order_comes_from_the_seed_alone(protocol):
    dataset = make()
    first, again, other = (courses(protocol, dataset, seed)[0].lessons for seed in (1, 1, 2))
    assert numbers(first) == numbers(again) != numbers(other)
    assert sorted(numbers(first)) == sorted(numbers(other))


def test_from_scratch_sees_all_samples_once_with_their_labels():
    dataset = make()
    (course,) = courses("c", dataset)
    assert sorted(numbers(course.lessons)) == list(range(120))
    assert (course.lessons.labels == dataset.train_labels[numbers(course.lessons)]).all()


def test_rotated_images_are_the_other_half_and_both_kinds_are_tested():
    base = make(shape=(6, 6))
    images = np.zeros((180, 6, 6), np.int16)
    images[:, 2:4, :] = 90  # a bar that lies
    images[:, 3, 3] = np.arange(180) % 80 + 1
    rows = images.reshape(180, -1)
    dataset = replace(base, train_samples=rows[:120], test_samples=rows[120:])
    (course,) = courses("a", dataset, drift="rotated")
    assert len(course.lessons) == len(course.before) == 60
    assert (course.tests["old"].samples == dataset.test_samples).all()
    assert (course.tests["new"].labels == dataset.test_labels).all()
    turned = course.tests["new"].samples.reshape(-1, 6, 6)
    assert turned.dtype == np.int16 and (turned[:, 2, 0] != 90).all()
    assert np.abs(turned[:, 2:4, 2:4].astype(int) - images[120:, 2:4, 2:4]).mean() < 30  # about it


def test_another_microphone_moves_each_coefficient_by_a_constant_of_the_seed():
    cepstra = np.random.default_rng(0).integers(-60, 60, (180, 12)).astype(np.int8)
    made = make(shape=(4, 3))
    dataset = replace(
        made, train_samples=cepstra[:120], test_samples=cepstra[120:], low=-128.0, high=127.0
    )
    first, again, other = (courses("a", dataset, seed, "microphone")[0] for seed in (1, 1, 2))
    moves = first.tests["new"].samples.astype(int) - cepstra[120:]
    per_coefficient = moves.reshape(60, 4, 3)
    assert (per_coefficient == per_coefficient[:1, :, :1]).all() and moves.any()
    assert (first.lessons.samples == again.lessons.samples).all()
    assert (first.tests["new"].samples != other.tests["new"].samples).any()
    assert first.lessons.samples.dtype == np.int8 and len(first.before) == 60


def test_a_stranger_of_the_test_part_is_a_course_and_others_are_what_was_before():
    people = np.arange(180) % 4
    dataset = make(train_domains=people[:120], test_domains=np.where(people[120:] < 2, 8, 9))
    found = courses("a", dataset, drift="domains")
    assert len(found) == 2
    for course, stranger in zip(found, (8, 9), strict=True):
        theirs = 120 + np.flatnonzero(dataset.test_domains == stranger)
        seen = numbers(course.lessons) + numbers(course.tests["new"])
        assert sorted(seen) == theirs.tolist()
        assert 0.5 < len(course.lessons) / len(theirs) < 0.7
        for label in range(5):  # what is tested came later than what was learned
            earlier = course.lessons.take(course.lessons.labels == label)
            later = course.tests["new"].take(course.tests["new"].labels == label)
            assert max(numbers(earlier)) < min(numbers(later))
        old = numbers(course.before) + numbers(course.tests["old"])
        assert sorted(old) == list(range(120)) and len(course.tests["old"]) >= 10
        kind = 10 * people + np.concatenate([dataset.train_labels, dataset.test_labels])
        for tested in numbers(course.tests["old"]):  # nor was anything of its kind seen later
            seen = [n for n in numbers(course.before) if kind[n] == kind[tested]]
            assert max(seen, default=-1) < tested


@pytest.mark.parametrize(("validation", "new", "old"), [(False, 3, {0, 1, 2}), (True, 2, {0, 1})])
def test_the_last_load_is_new_and_settings_are_chosen_without_it(validation, new, old):
    loads = np.arange(180) % 4
    dataset = make(train_domains=loads[:120], test_domains=loads[120:])
    (course,) = courses("a", dataset, drift="domains", validation=validation)
    of = lambda part: set((np.array(numbers(part)) % 4).tolist())  # noqa: E731
    assert of(course.lessons) == of(course.tests["new"]) == {new}
    assert of(course.before) == of(course.tests["old"]) == old
    assert max(numbers(course.lessons) + numbers(course.before)) < 120
    assert min(numbers(course.tests["new"]) + numbers(course.tests["old"])) >= 120


def test_domains_that_are_not_known_or_too_few_are_refused():
    with pytest.raises(ValueError, match="no domains"):
        courses("a", make(), drift="domains")
    one = make(train_domains=np.zeros(120), test_domains=np.zeros(60))
    with pytest.raises(ValueError, match="too few domains"):
        courses("a", one, drift="domains")


def test_joint_training_has_the_same_lessons_shuffled_and_as_many_old_ones():
    (course,) = courses("b", make())
    mixed = joint(course, 0)
    assert sorted(numbers(mixed.lessons)) == sorted(numbers(course.lessons))
    assert (mixed.lessons.labels[:40] != course.lessons.labels[:40]).any()
    before = Part(-course.lessons.samples - 1, course.lessons.labels)
    few = replace(course, lessons=course.lessons.take(np.arange(30)), before=before)
    drawn = np.array(numbers(joint(few, 0).lessons))
    assert (drawn >= 0).sum() == (drawn < 0).sum() == 30


def test_a_spectrum_shows_a_tone_whatever_its_phase():
    times = np.arange(64)
    waves = [1000 * np.sin(2 * np.pi * 8 * times / 64 + phase) for phase in (0, 1, 2)]
    found = spectrum(np.array(waves).astype(np.int16))
    assert found.shape == (3, 33) and found.dtype == np.float32
    assert (found.argmax(axis=1) == 8).all()
    np.testing.assert_allclose(found[0, 7:10], found[1, 7:10], rtol=1e-2)


def test_samples_in_units_of_their_peak():
    rows = np.array([[1, -2, 0], [-500, 1000, 250], [0, 0, 0]], np.int16)
    assert peak(rows).tolist() == [[64, -127, 0], [-64, 127, 32], [0, 0, 0]]
    assert peak(rows).dtype == np.int8


def test_large_images_are_averaged_in_blocks():
    rows = np.arange(2 * 70 * 64 * 3).reshape(2, -1) % 251
    made = smaller(rows.astype(np.uint8), (70, 64, 3))
    assert made.shape == (2, 23, 21, 3) and made.dtype == np.uint8
    block = rows.reshape(2, 70, 64, 3)[1, 3:6, 9:12, 2]
    assert made[1, 1, 3, 2] == round(block.mean())


def test_where_few_people_have_a_class_more_are_held_out():
    people = np.arange(120) % 8  # of whom 0 and 1 alone have the classes 0 to 3
    labels = np.where(people < 2, np.arange(120) // 8 % 4, 4)
    held = held_out(replace(make(train_groups=people), train_labels=labels))
    assert set(held.test_labels) == set(held.train_labels) == set(range(5))
    assert not set(held.test_groups) & set(held.train_groups)
