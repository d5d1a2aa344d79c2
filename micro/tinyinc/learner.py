"""The network and its policy: what one learn() does, from a raw sample to the replayed memory.

The engine knows the arithmetic. All buffers are made once, when the network is opened: predict(),
learn() and consolidate() allocate nothing after that, unless a sample is a list, a label is new, a
lesson can be taken back or a layer is to shrink.
"""

from array import array
from struct import pack_into

from . import growth, image, store
from .engine import engine
from .guard import Guard
from .labels import Labels, shown
from .memory import Memory
from .step import BACKWARD, DIVERGED, FORWARD, SKIPPED, Step
from .undo import Undo

try:
    from time import ticks_diff, ticks_ms
except ImportError:
    from time import monotonic_ns

    def ticks_ms():
        return monotonic_ns() // 1000000

    def ticks_diff(end, start):
        return end - start


NO_EXEMPLAR, STEP_DIVERGED = -1, -2  # from engine.replay()
GROWTH = image.SETTINGS["growth"][0]  # place of the setting
LEAST_VALUE = 1e-30  # 1 / this is a float32


def floats(count):
    """So many zeros."""
    return array("f", bytes(4 * count))


def _floats(values):
    """Any sequence of numbers as float32; itself where there is nothing to convert."""
    if isinstance(values, (bytes, bytearray, str)):
        return values
    try:
        values = list(values)
    except TypeError:
        return values
    try:
        return array("f", values)
    except (TypeError, OverflowError):
        raise ValueError("sample holds something that is no float32 number")


def _scale_of(x):
    """What makes the largest value of a raw sample 1, unless all are as good as 0."""
    largest = max([abs(value) for value in x])
    return 1 / min(largest, image.UNSCALED[3]) if largest > LEAST_VALUE else 1.0


def _lineage(sections):
    return image.get(sections[image.STRUCTURE], image.HEADER["lineage"])


def _labels_of(sections):
    structure, last = sections[image.STRUCTURE], sections[image.STRUCTURE][43] - 1
    return Labels(sections[image.STATE], image.active(structure, last))


class Net:
    """A network over the five sections of its image; made by tinyinc.load() or tinyinc.create().

    inputs: values of a sample; features: of what its front end makes of it, without one as many;
    labels: of the classes in use, in the order they came; memory: the distilled memory; format:
    "f32" or "q8", how it computes; image_bytes, scratch_bytes and undo_bytes: what it takes in RAM;
    undo_divergence: whether a step that diverges takes it back to its newest saved state.

    One call at a time: a call from within another one (a callback, an interrupt) or beside it
    (another thread or core) raises ValueError, and the first goes on undisturbed. evaluate() and
    memory.samples() let others in between two samples. `sections` are the caller's to read; after
    writing to them, calls raise ValueError where they are no network's any more.
    """

    def __init__(self, sections, path=None, extensions=(), frozen=None, undo=False):
        structure, state = sections[image.STRUCTURE], sections[image.STATE]
        self.sections = sections
        self.path = path
        self.extensions = extensions
        self.undo_divergence = False
        self.guard = Guard()
        self._frozen = frozen
        self._state = state
        self.format = image.FORMATS[image.is_q8(structure)]
        self.inputs = image.inputs(structure)
        self.features = image.features(structure)
        self.layer_count = structure[43]
        self.class_capacity = image.capacity(structure, self.layer_count - 1)
        self._can_grow = self.layer_count > 1 and image.can_resize(structure, self.layer_count - 2)
        self.image_bytes = image.get(structure, image.HEADER["file_bytes"])
        self._use(_labels_of(sections))
        self._unscaled = not self.labels and image.is_unscaled(structure)
        self._x = self._values(self.inputs)
        self._features = self._x  # of the sample at hand
        if image.front_layers(structure):
            self._features = self._values(self.features)
        self._probabilities = floats(self.class_capacity)
        self._predicted = None
        self.scratch_bytes = engine.scratch_bytes(sections)
        self._scratch = bytearray(self.scratch_bytes)
        self.memory = Memory(self)
        self.step = Step(self)
        self._undo = Undo(sections) if undo else None
        self.undo_bytes = self._undo.bytes if undo else 0

    def deinit(self):
        """Give up the buffers; every later call raises ValueError. `with net:` ends with it."""
        if self.sections:
            self.guard.close("this network was given up by deinit(): load() or create() another")
            self.sections = ()
            self._state = self._x = self._features = self._probabilities = self._scratch = None
            self._undo = None
            self.memory.deinit()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.deinit()

    # ---- what it knows ----

    def predict(self, x):
        """Label of a raw sample: what the network and the exemplars of the memory say together; or
        None where the setting novelty is not 0, and the sample is something new: further from every
        exemplar than `novelty` times the distance that 95 of 100 known samples keep within.
        `confidence` then tells how sure that is.

        x: `inputs` values in raw units, as array('f'), ('b'), ('B'), ('h') or ('H'), bytes, a
        memoryview of these (none of which allocates), or any other sequence of numbers.
        ValueError: wrong count or type, NaN or infinity, nothing learned yet, a network that has
        diverged.
        """
        with self.guard:
            label = self._classify(x)
            return None if self.memory.is_new() else label

    @property
    def confidence(self):
        """Probability, 0 to 1, of what predict() found last, also where it said None."""
        with self.guard:
            if self._predicted is None:
                raise ValueError("nothing predicted yet: predict() a sample first")
            return self._probabilities[self._predicted]

    def probabilities(self, x):
        """Probability of every class, in the order of `labels`: array('f'), the caller's own."""
        with self.guard:
            self._classify(x)
            return self._probabilities[: len(self.labels)]

    def evaluate(self, samples):
        """Share of (raw sample, label) pairs that predict() gets right, 0 to 1. What gives the
        samples may learn() them, too: it is asked for each one between two predictions."""
        right = total = 0
        for x, label in samples:
            right += self.predict(x) == label
            total += 1
        if total == 0:
            raise ValueError("evaluate() got no samples, expected pairs (sample, label)")
        return right / total

    # ---- how it learns ----

    def learn(self, x, label):
        """Learn one raw sample; a label never seen before adds a class. Returns the step.

        One engine step on the sample, and the memory follows it (Memory.keep). Where that step was
        not skipped, `replay` steps on exemplars of other classes follow, so that those stay. The
        step object is the same every time: step.copy() keeps one. ValueError: as predict(), a label
        that cannot be stored, no room for one more class; MemoryError. The network then stays as it
        was.

        A step that would make weights infinite is left out, and step.diverged tells. With
        undo_divergence the network then goes back to its newest saved state, as by restore().
        """
        with self.guard:
            if self._unscaled:  # it will be read again, which an iterator allows but once
                x = _floats(x)
            forward = self._take(x)
            cls = self._labels.find(label)
            new = self._new_label(label) if cls is None else None
            if self._undo:
                self._note(cls)
            if new:
                cls = self._add_class(new, x)
            sections, x, step = self.sections, self._features, self.step
            scratch = self._scratch  # one at a time: a tuple of four would be allocated
            if not engine.learn(sections, x, cls, step.counts, step.figures, scratch):
                step.refuse()
                return self._diverge()
            search_macs = self.memory.keep(x, cls)
            replayed = backward = 0
            counts, figures = step.replay_counts, step.replay_figures
            for _ in range(0 if step.counts[SKIPPED] else self._state[3]):
                found = engine.replay(sections, cls, x, counts, figures, scratch)
                if found == NO_EXEMPLAR:
                    break
                if found == STEP_DIVERGED:
                    step.finish(replayed, forward, backward, search_macs)
                    return self._diverge()
                replayed += 1
                forward += counts[FORWARD]
                backward += counts[BACKWARD]
            step.finish(replayed, forward, backward, search_macs)
            return step

    def consolidate(self, ms=100, lessons=None):
        """Learn from the memory alone, while the board has nothing else to do: for `ms`
        milliseconds, or so many `lessons`. Then units of little use are taken out, where the
        setting growth is not 0. Returns the lessons done, 0 without exemplars; `step` then holds
        their multiply-accumulates.

        Each is a call of its own: others may come in between, and Ctrl-C loses none. ValueError: a
        network that has diverged.
        """
        if ms < 0 or lessons is not None and lessons < 0:
            raise ValueError("ms is %s and lessons %s, expected 0 or more" % (ms, lessons))
        start, step = ticks_ms(), self.step
        done = forward = backward = 0
        counts, figures = step.replay_counts, step.replay_figures
        while done < lessons if lessons is not None else ticks_diff(ticks_ms(), start) < ms:
            with self.guard:
                sections, x, scratch = self.sections, self._features, self._scratch
                found = engine.replay(sections, NO_EXEMPLAR, x, counts, figures, scratch)
                if found >= 0:
                    done += 1
                    forward += counts[FORWARD]
                    backward += counts[BACKWARD]
            if found == STEP_DIVERGED:
                raise ValueError("the network has diverged: its learning rate is too high")
            if found == NO_EXEMPLAR:
                break
        with self.guard:
            step.clear()
            step.finish(done, forward, backward, 0)
            if len(self.labels) > 1 and self._growth():  # with one, no unit is of use
                growth.shrink(self.sections, self.layer_count - 2, self._growth())
        return done

    def undo(self):
        """Take the last lesson back, and what was consolidated, added or set since: the network is
        as it was before it. ValueError where there is none, as after restore(), or load() and
        create() were not told undo=True."""
        with self.guard:
            if self._undo is None:
                raise ValueError("lessons are not kept for that: load(..., undo=True)")
            if not self._undo.ready:
                raise ValueError("there is no lesson to take back: one at a time is kept")
            self._check()
            structure = self._undo.structure
            classes = image.active(structure, self.layer_count - 1)
            self._unscaled = classes == 0 and image.is_unscaled(structure)
            self._labels.cut(classes)
            self._undo.take_back()
            self.memory.recount()

    def restore(self):
        """Go back to the newest saved state, settings included; what was learned since is gone.

        ValueError: it has no file, or another network is there by now; OSError; MemoryError: RAM
        for a second copy is needed meanwhile. The network then stays as it is.
        """
        with self.guard:
            self._restore()

    def take(self, x):
        """The features of a raw sample, as the memory and the layers that learn take them; reused
        by the next call."""
        self._take(x)
        return self._features

    def class_of(self, label):
        """Class of a label; ValueError for an unknown one."""
        cls = self._labels.find(label)
        if cls is None:
            raise ValueError("label %s is unknown, it has %s" % (shown(label), self.labels))
        return cls

    def label_of(self, cls):
        """Label of a class; ValueError where buffers that were written to name one that is not."""
        if cls >= len(self.labels):
            raise ValueError("class %d has no label: the sections were written to" % cls)
        return self.labels[cls]

    def configure(self, **settings):
        """Set rule ("full", "static", "tinyprop", "tinyprop2" or "sampled"), learning_rate (in q8
        a power of two), replay (exemplars per lesson) and the rules' parameters (image.SETTINGS).
        ValueError, and nothing set, when one is unknown or out of range."""
        with self.guard:
            for name in settings:
                image.check_setting(name, settings[name], self.format)
            self._check()
            for name in settings:
                image.put_setting(self._state, name, settings[name])

    def setting(self, name):
        """Value of a setting of configure()."""
        with self.guard:
            self._check()
            return image.setting(self._state, name)

    # ---- its size ----

    def grow(self, layer, units=1):
        """Put more units of a hidden layer to use, within the image's capacity."""
        with self.guard:
            self._check_hidden(layer)
            engine.grow(self.sections, layer, units)

    def shrink(self, layer, units=1):
        """Take the least useful units of a hidden layer out of use; at least one stays."""
        with self.guard:
            self._check()
            self._check_hidden(layer)
            active = image.active(self.sections[image.STRUCTURE], layer)
            if not 0 <= units < active:
                raise ValueError(
                    "layer %d: cannot remove %s of %d units, at least one stays"
                    % (layer, units, active)
                )
            for _ in range(units):
                engine.shrink(self.sections, layer, engine.least_useful(self.sections, layer))

    @property
    def dense_forward_macs(self):
        """Multiply-accumulates of a forward pass that leaves nothing out, at the present size."""
        return self._dense_macs()[0]

    @property
    def dense_backward_macs(self):
        """Those of such a backward pass: the gradients of the trained weights, and those that the
        layers between them pass down."""
        return self._dense_macs()[1]

    # ---- its file ----

    def save(self, path=None):
        """Write the network: to `path`, or as a checkpoint beside the file it came from.

        The file that was loaded is never written: two checkpoints beside it are written in turn,
        and load() takes the newest whole one. OSError when the file system refuses.
        """
        with self.guard:
            self._check()
            store.save(self, path)

    # ---- inside ----

    def _check(self):
        """ValueError unless the sections are a network's."""
        engine.scratch_bytes(self.sections)

    def _classify(self, x):
        """Label of a raw sample; leaves all probabilities in their buffer."""
        self._take(x)
        probabilities = self._probabilities
        if not self.labels:
            raise ValueError("nothing learned yet: learn() a sample first")
        cls = engine.infer(self.sections, self._features, probabilities, self._scratch)
        if self.memory.count:
            cls = self.memory.vote(self._features, probabilities)
        self._predicted = cls
        return self.label_of(cls)

    def _values(self, count):
        """Room for values as the engine computes them."""
        return array("b", bytes(count)) if self.format == "q8" else floats(count)

    def _take(self, x):
        """Normalise a raw sample and send it through the front end; returns the work of that."""
        try:
            engine.normalise(self.sections, x, self._x)
            x = self._x
        except ValueError:
            pass  # nothing more here: MicroPython takes a frame above 11 words from the heap
        if x is not self._x:
            engine.normalise(self.sections, _floats(x), self._x)
        if self._features is self._x:
            return 0
        return engine.extract(self.sections, self._x, self._features, self._scratch)

    def _note(self, cls):
        """Keep the present state for undo()."""
        slot = -1
        if self.memory.capacity:
            slot = self.memory.slot_to_change(self._features, cls)
        self._undo.keep(slot)

    def _growth(self):
        """Units that a class brings; 0 where no hidden layer can follow. Allocates nothing."""
        state, at = self._state, GROWTH
        return state[at] | state[at + 1] << 8 if self._can_grow else 0

    def _check_hidden(self, layer):
        if not 0 <= layer < self.layer_count - 1:
            raise ValueError(
                "layer %s is no hidden layer, expected 0 to %d" % (layer, self.layer_count - 2)
            )

    def _new_label(self, label):
        """A label for one more class, encoded; ValueError where there is no room for it."""
        if len(self.labels) == self.class_capacity:
            raise ValueError(
                "no room for label %s: all %d classes are in use"
                % (shown(label), self.class_capacity)
            )
        return self._labels.encode(label)

    def _add_class(self, new, x):
        """Put one more class to use, with its label encoded, and with the first of all settle the
        scale by the raw sample. Returns the class. What fails is taken back."""
        cls = len(self.labels)
        structure = self.sections[image.STRUCTURE]
        try:
            self._labels.add(*new)
            if self._unscaled:
                image.set_scale(structure, _scale_of(x))
                self._take(x)
            if self._growth():
                growth.new_class(self.sections, self.layer_count - 2, self._growth())
            engine.grow(self.sections, self.layer_count - 1, 1)
        except BaseException:  # Ctrl-C too
            self._labels.cut(cls)
            if self._unscaled:
                image.set_scale(structure, 0)
            raise
        self._unscaled = False
        return cls

    def _diverge(self):
        """Report a step that the engine has left out, and undo what led to it if asked to."""
        self.step.totals[DIVERGED] = 1
        if self.undo_divergence:
            self._restore()
        return self.step

    def _restore(self):
        if self.path is None:
            raise ValueError("this network has no file to go back to: save(path) once")
        saved, _ = store.load(self.path, self._frozen)
        formats = ["%ds" % len(section) for section in saved]
        same = formats == ["%ds" % len(section) for section in self.sections]
        if not same or _lineage(saved) != _lineage(self.sections):
            raise ValueError("%s does not hold this network (any more)" % self.path)
        labels = _labels_of(saved)
        self._unscaled = not labels.names and image.is_unscaled(saved[image.STRUCTURE])
        if self._undo:
            self._undo.ready = False
        # nothing below allocates, so nothing can stop it half way
        for i in range(len(saved)):
            if i != image.FROZEN:  # it never changes
                pack_into(formats[i], self.sections[i], 0, saved[i])
        labels.state = self._state
        self._use(labels)
        self.memory.recount()

    def _use(self, labels):
        self._labels, self.labels = labels, labels.names

    def _dense_macs(self):
        with self.guard:
            self._check()
        structure = self.sections[image.STRUCTURE]
        first = image.first_trained(structure)
        forward = backward = 0
        for layer in range(self.layer_count):
            macs, gradients = image.layer_macs(structure, layer)
            forward += macs
            backward += gradients + (macs if layer > first else 0)
        return forward, backward
