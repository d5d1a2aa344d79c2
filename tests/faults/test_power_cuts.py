"""Power cuts at every write of a save: littlefs and FAT in RAM under MicroPython, plain files here.

What is promised is in micro/README.md.
"""

import os
import subprocess
from pathlib import Path

import pytest

import tinyinc
from results import record
from tinyinc import store
from tinyinc_host.report import Result, at_least, at_most

ROOT = Path(__file__).parent.parent.parent
MICROPYTHON = ROOT / "build" / "unix" / "micropython"
HEAP = "16m"  # the disks are in it


def run(script, *arguments):
    """Numbers that a device script prints, by name."""
    done = subprocess.run(
        [MICROPYTHON, "-X", f"heapsize={HEAP}", ROOT / "tests/faults/device" / script, *arguments],
        env={**os.environ, "MICROPYPATH": str(ROOT / "micro") + ":.frozen"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]
    # Lines without a tab: the collector closed a file on a disk that had lost its power.
    lines = [line.split("\t") for line in done.stdout.splitlines() if "\t" in line]
    return {name: float(value) for name, value in lines}


# ---- block devices whose power fails ----

# scenario of power_cuts.py: what it counts, and the least of it
CUTS = {
    "clean": ("power cuts survived", 100),
    "torn": ("torn writes survived", 3000),
    "torn_first": ("torn writes survived, first save", 500),
    "spoiled": ("writes that left noise survived", 10),
    "reordered": ("saves of which a part arrived survived", 50),
    "twice": ("two cuts in a row survived", 50),
    "replaced": ("power cuts survived, save(path) over a file", 10),
    "full": ("saves refused by a full device", 5),
    "read_only": ("saves refused by a read-only device", 12),
}


@pytest.mark.parametrize(
    ("filesystem", "scenario"),
    [(f, s) for f in ("littlefs", "FAT") for s in CUTS if (f, s) != ("littlefs", "reordered")],
)
def test_cuts(filesystem, scenario):
    name, least = CUTS[scenario]
    count = run("power_cuts.py", filesystem, scenario)[scenario]
    result = at_least(f"{name}, {filesystem}", int(count), "", least, "all that were made")
    record(result)
    assert result.holds


def test_cost_of_a_save():
    """It writes the image once, and hardly more. Numbers of micro/README.md."""
    cost = run("save_cost.py")
    image = cost["image"]
    results = [
        Result("image of a digits network", image, "B"),
        at_most("a save writes, littlefs", cost["littlefs later"], "B", 1.05 * image),
        at_most("a save erases, littlefs", cost["littlefs later erased"], "B", image + 2 * 4096),
        at_most("a save writes, FAT", cost["FAT later"], "B", image + 3 * 512),
        at_most("the first save writes, littlefs", cost["littlefs first"], "B", 3.2 * image),
        at_most("the first save writes, FAT", cost["FAT first"], "B", 4 * image),
        at_least(
            "a save with the header last would write, littlefs",
            cost["littlefs header last"],
            "B",
            1.9 * image,
        ),
    ]
    for lessons in (1, 10, 100):
        name = f"sectors that a save changes, lessons between: {lessons}"
        results.append(Result(name, cost[f"changed after {lessons}"], "share"))
    record(*results)
    assert [result for result in results if result.holds is False] == []


# ---- plain files ----


def contents(net):
    return [bytes(section) for section in net.sections]


def slot(path, number):
    return Path(f"{path}.{number}") / "checkpoint"


@pytest.fixture
def saved(tmp_path):
    """A network after two checkpoints, and its contents at each save."""
    path = str(tmp_path / "net.tinc")
    net = tinyinc.create(inputs=3, hidden=(4,), classes=3, memory=4, label_bytes=4, range=(0, 1))
    states = []
    for label, destination in (("a", path), ("b", None), ("a", None)):
        net.learn([1.0, 0.5 * len(states), 0.0], label)
        net.save(destination)
        states.append(contents(net))
    return path, net, states


def test_the_newest_is_loaded_and_the_deployed_file_stays(saved):
    path, net, states = saved
    deployed = Path(path).read_bytes()
    assert contents(tinyinc.load(path)) == states[2]
    for _ in range(3):
        net.save()
        assert contents(tinyinc.load(path)) == contents(net)
    assert Path(path).read_bytes() == deployed == b"".join(states[0])
    assert {slot(path, n).stat().st_size for n in (0, 1)} == {len(deployed)}


def test_every_tear_of_a_slot(saved):
    """Old and new bytes in one slot, at every byte, from either end."""
    path, net, states = saved
    old = slot(path, 1).read_bytes()
    net.learn([0.0, 0.0, 1.0], "c")
    net.save()
    new, states = slot(path, 1).read_bytes(), [states[2], contents(net)]
    found = set()
    for at in range(len(new) + 1):
        for torn in (new[:at] + old[at:], old[:at] + new[at:]):
            slot(path, 1).write_bytes(torn)
            found.add(states.index(contents(tinyinc.load(path))))
    assert found == {0, 1}


def test_damage_to_the_newest_slot(saved):
    """A bit that flips, a file cut short or gone: the state before."""
    path, _, states = saved
    newest = slot(path, 0)
    whole = newest.read_bytes()
    for at in range(len(whole)):
        newest.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
        assert contents(tinyinc.load(path)) == states[1], at
    for size in (0, 1, 127, 128, len(whole) - 1, len(whole) + 1):
        newest.write_bytes((whole + b"\0")[:size])
        assert contents(tinyinc.load(path)) == states[1], size
    newest.unlink()
    net = tinyinc.load(path)
    assert contents(net) == states[1]
    net.save()
    assert contents(tinyinc.load(path)) == contents(net) and newest.exists()


def test_slots_of_another_lineage_are_ignored(saved, tmp_path):
    path, _, states = saved
    other = tinyinc.create(inputs=3, classes=2)
    other.learn([1, 2, 3], "x")
    other.save(str(tmp_path / "other.tinc"))
    (tmp_path / "other.tinc").replace(path)
    net = tinyinc.load(path)
    assert contents(net) == contents(other)
    net.save()
    assert contents(tinyinc.load(path)) == contents(net) != states[2]


def test_save_to_a_path_starts_a_lineage(saved):
    path, net, states = saved
    net.save(path)
    assert contents(tinyinc.load(path)) == contents(net)
    assert contents(net)[0][24:40] != states[2][0][24:40]
    assert contents(net)[1:] == states[2][1:]
    assert not Path(path + ".new").exists()


@pytest.mark.parametrize("error", [OSError, MemoryError, KeyboardInterrupt])
@pytest.mark.parametrize("again", ["checkpoint", "file"])
def test_a_save_that_is_interrupted(saved, monkeypatch, error, again):
    """Half of it is written: the network, its sequence number too, and what is loaded are as
    before, and the next save still spares the newest slot."""
    path, net, states = saved
    write = store._write

    def interrupted(file, net):
        write(file, net)
        file.truncate(len(states[0][0]) + 8)
        raise error

    monkeypatch.setattr(store, "_write", interrupted)
    net.learn([0.0, 0.0, 1.0], "c")
    before = contents(net)
    with pytest.raises(error):
        net.save(path if again == "file" else None)
    assert contents(net) == before
    assert net.path == path
    assert not Path(path + ".new").exists()
    assert contents(tinyinc.load(path)) == states[2]
    monkeypatch.undo()
    net.save()
    assert contents(tinyinc.load(path)) == contents(net)
    assert slot(path, 0).read_bytes() == b"".join(states[2])


def test_what_stands_where_a_slot_should(tmp_path):
    """A file in the directory's place is the user's own: OSError, and it stays."""
    path = str(tmp_path / "net.tinc")
    net = tinyinc.create(inputs=3, classes=2)
    net.save(path)
    Path(path + ".1").write_text("mine")
    before = contents(net)
    with pytest.raises(OSError):
        net.save()
    assert contents(net) == before == contents(tinyinc.load(path))
    assert Path(path + ".1").read_text() == "mine"


def test_a_network_without_a_file():
    with pytest.raises(ValueError, match="save.path. once"):
        tinyinc.create(inputs=3).save()


def test_gaps_and_extensions_are_kept(saved, tmp_path):
    """Bytes that this version does not know go from the deployed file into every checkpoint."""
    path = str(tmp_path / "extended.tinc")
    Path(path).write_bytes(extended(Path(saved[0]).read_bytes()))
    net = tinyinc.load(path)
    net.learn([0.0, 1.0, 0.0], "a")
    net.save()
    checkpoint = slot(path, 1).read_bytes()
    assert len(checkpoint) == Path(path).stat().st_size
    assert checkpoint.endswith(b"opaque!!" + bytes(16))
    assert contents(tinyinc.load(path)) == contents(net)


def extended(image):
    """The image with an optional section of another kind, a gap before and one after it."""
    structure = bytearray(image[: int.from_bytes(image[8:12], "little")])
    sections = image[len(structure) :]
    table = 128 + 32 * structure[42]
    entry = bytearray(32)
    for index in range(structure[42]):
        at = 128 + 32 * index + 8
        offset = int.from_bytes(structure[at : at + 4], "little")
        structure[at : at + 4] = (offset + 32).to_bytes(4, "little")
    offset = len(image) + 32 + 24
    fields = (77, 0, offset, 8, store.engine.crc32(b"opaque!!"))
    entry[:20] = b"".join(field.to_bytes(4, "little") for field in fields)
    structure[table:table] = entry
    structure[42] += 1
    structure[8:12] = len(structure).to_bytes(4, "little")
    structure[16:20] = (offset + 8 + 16).to_bytes(4, "little")
    structure[12:16] = bytes(4)
    structure[12:16] = store.engine.crc32(bytes(structure)).to_bytes(4, "little")
    return bytes(structure) + sections + bytes(24) + b"opaque!!" + bytes(16)
