"""The network and its policy: what one learn() does, from a raw sample to the replayed memory.

The engine knows the arithmetic. All buffers are made once, when the network is opened: predict()
and learn() allocate nothing after that, unless a sample is a list or a label is new.
"""

from array import array

from . import image, store
from .engine import engine
from .labels import Labels
from .memory import Memory
from .step import SKIPPED, Step


def _floats(values):
    """Any sequence of numbers as float32, or None where there is nothing to convert."""
    if isinstance(values, (bytes, bytearray, str)):
        return None
    try:
        values = list(values)
    except TypeError:
        return None
    try:
        return array("f", values)
    except (TypeError, OverflowError):
        raise ValueError("sample holds something that is no float32 number")


class Net:
    """A network over the five sections of its image; made by tinyinc.load() or tinyinc.create().

    inputs: values of a sample; labels: of the classes in use, in the order they came; memory: the
    distilled memory; image_bytes and scratch_bytes: what it takes in RAM.
    """

    def __init__(self, sections, path=None, extensions=(), unscaled=False):
        structure, state = sections[image.STRUCTURE], sections[image.STATE]
        self.sections = sections
        self.path = path
        self.extensions = extensions
        self._unscaled = unscaled
        self._state = state
        self.inputs = image.inputs(structure)
        self.layer_count = structure[43]
        self.class_capacity = image.capacity(structure, self.layer_count - 1)
        self._labels = Labels(state, image.active(structure, self.layer_count - 1))
        self.labels = self._labels.names
        self._class = self._labels.index
        self._x = array("f", bytes(4 * self.inputs))
        self._probabilities = array("f", bytes(4 * self.class_capacity))
        self.scratch_bytes = engine.scratch_bytes(sections)
        self._scratch = bytearray(self.scratch_bytes)
        self._count_dense_macs()
        self.memory = Memory(self)
        self.step = Step(self)

    # ---- what it knows ----

    def predict(self, x):
        """Label of a raw sample: what the network and the exemplars of the memory say together.

        x: `inputs` values in raw units, as array('f'), ('b'), ('B'), ('h') or ('H'), bytes, a
        memoryview of these (none of which allocates), or any other sequence of numbers.
        ValueError: wrong count or type, NaN or infinity, nothing learned yet.
        """
        self.normalise(x)
        if not self.labels:
            raise ValueError("nothing learned yet: learn() a sample first")
        sections, probabilities = self.sections, self._probabilities
        cls = engine.infer(sections, self._x, probabilities, self._scratch)
        if self.memory.count:
            cls = self.memory.vote(self._x, probabilities)
        return self.labels[cls]

    def probabilities(self, x):
        """Probability of every class, in the order of `labels`: array('f'), the caller's own."""
        self.predict(x)
        return self._probabilities[: len(self.labels)]

    def evaluate(self, samples):
        """Share of (raw sample, label) pairs that predict() gets right, 0 to 1."""
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

        One engine step on the sample, then `replay` steps on exemplars of other classes so that
        those stay; the memory keeps what it taught (Memory.keep). The step object is the same every
        time: step.copy() keeps one. ValueError: as predict(), a label that cannot be
        stored, no room for one more class; MemoryError. The network then stays as it was.
        """
        self.normalise(x)
        cls = self._class.get(label)
        if cls is None:
            cls = self._add_class(x, label)
        sections, x, step = self.sections, self._x, self.step
        scratch = self._scratch  # one at a time: a tuple of four would be allocated
        engine.learn(sections, x, cls, step.counts, step.figures, scratch)
        step.clear()
        step.search_macs = self.memory.keep(x, cls, not step.counts[SKIPPED])
        for _ in range(self._state[3]):
            slot = engine.choose(sections, cls)
            if slot < 0:
                break
            replayed = engine.recall(sections, slot, x)
            engine.learn(sections, x, replayed, step.replay_counts, step.replay_figures, scratch)
            step.add_replay()
        return step

    def normalise(self, x):
        """A raw sample in the units of the network: array('f'), reused by the next call."""
        try:
            engine.normalise(self.sections, x, self._x)
        except ValueError:
            floats = _floats(x)
            if floats is None:
                raise
            engine.normalise(self.sections, floats, self._x)
        return self._x

    def class_of(self, label):
        """Class of a label; ValueError for an unknown one."""
        cls = self._class.get(label)
        if cls is None:
            raise ValueError("label %r is unknown, the network has %s" % (label, self.labels))
        return cls

    def configure(self, **settings):
        """Set rule ("full", "static", "tinyprop", "tinyprop2" or "sampled"), learning_rate,
        replay (exemplars per lesson) and the rules' parameters (image.SETTINGS). ValueError, and
        nothing set, when one is unknown or out of range."""
        for name in settings:
            image.check_setting(name, settings[name])
        for name in settings:
            image.put_setting(self._state, name, settings[name])

    def setting(self, name):
        """Value of a setting of configure()."""
        image.check_setting(name, image.setting(self._state, name))
        return image.setting(self._state, name)

    # ---- its size ----

    def grow(self, layer, units=1):
        """Put more units of a hidden layer to use, within the image's capacity."""
        self._check_hidden(layer)
        engine.grow(self.sections, layer, units)
        self._count_dense_macs()

    def shrink(self, layer, units=1):
        """Take the least useful units of a hidden layer out of use; at least one stays."""
        self._check_hidden(layer)
        for _ in range(units):
            unit = engine.least_useful(self.sections, layer)
            engine.shrink(self.sections, layer, unit)
        self._count_dense_macs()

    def save(self, path=None):
        """Write the network: to `path`, or as a checkpoint beside the file it came from.

        The file that was loaded is never written: two checkpoints beside it are written in turn,
        and load() takes the newest whole one, so that a power cut loses nothing older than the
        save. To `path` it starts a lineage of its own, which save() then continues. OSError when
        the file system refuses; the network then stays as it was. ValueError: it has no file yet.
        """
        store.save(self, path)

    @property
    def image_bytes(self):
        """Bytes of the image, in RAM and on flash."""
        return image.get(self.sections[image.STRUCTURE], image.HEADER["file_bytes"])

    # ---- inside ----

    def _check_hidden(self, layer):
        if not 0 <= layer < self.layer_count - 1:
            raise ValueError(
                "layer %s is no hidden layer, expected 0 to %d" % (layer, self.layer_count - 2)
            )

    def _add_class(self, x, label):
        """Make room for a new label, or leave everything as it is. Returns its class."""
        if len(self.labels) == self.class_capacity:
            raise ValueError(
                "no room for label %r: all %d classes are in use" % (label, self.class_capacity)
            )
        slot = self._labels.encode(label)
        if self._unscaled:
            self._fit_scale(x)
        cls = self._labels.add(label, slot)
        try:
            engine.grow(self.sections, self.layer_count - 1, 1)
        except Exception:
            self._labels.drop_last()
            raise
        self._count_dense_macs()
        return cls

    def _fit_scale(self, x):
        """The first sample of all tells the units: its largest value becomes 1."""
        image.set_scale(self.sections[image.STRUCTURE], max(abs(value) for value in self._x))
        self._unscaled = False
        self.normalise(x)

    def _count_dense_macs(self):
        """What a step costs that leaves nothing out, at the size of now."""
        structure = self.sections[image.STRUCTURE]
        inputs, forward, below = self.inputs, 0, 0
        for layer in range(self.layer_count):
            units = image.active(structure, layer)
            forward += units * inputs
            below += units * inputs if layer else 0
            inputs = units
        self.dense_forward_macs = forward
        self.dense_backward_macs = forward + below
