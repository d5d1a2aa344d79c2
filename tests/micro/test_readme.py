"""The README's session works as it is printed."""

import os
import re
import subprocess

from device_scripts import MICROPYTHON, ROOT

# Types the session in, statement by statement, and compares what a REPL would print.
REPL = """\
session = {session!r}
names = {{}}
for source, expected in session:
    try:
        value = eval(source, names)
    except SyntaxError:
        exec(source, names)
        value = None
    printed = "" if value is None else repr(value)
    assert printed == expected, (source, printed, expected)
print(len(session), "statements")
"""


def session(text):
    """(statement, printed) pairs of a session with >>> and ... prompts."""
    pairs = []
    for line in text.splitlines():
        if line.startswith(">>> "):
            pairs.append([line[4:], []])
        elif line.startswith("... "):
            pairs[-1][0] += "\n" + line[4:]
        else:
            pairs[-1][1].append(line)
    return [(source, "\n".join(printed)) for source, printed in pairs]


def test_session(tmp_path):
    readme = (ROOT / "README.md").read_text()
    (block,) = re.findall(r"```python\n(>>> .*?)```", readme, re.DOTALL)
    script = tmp_path / "session.py"
    script.write_text(REPL.format(session=session(block)))
    env = {**os.environ, "MICROPYPATH": str(ROOT / "micro")}
    done = subprocess.run(
        [MICROPYTHON, script], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == f"{len(session(block))} statements\n"


def test_simplest_example(tmp_path):
    script = ROOT / "micro" / "examples" / "tinyinc_simpletest.py"
    env = {**os.environ, "MICROPYPATH": str(ROOT / "micro")}
    done = subprocess.run(
        [MICROPYTHON, script], cwd=tmp_path, env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[0] == "flat"
    assert done.stdout.splitlines()[2].startswith("upside down on its side ")


def test_something_new():
    script = ROOT / "micro" / "examples" / "something_new.py"
    env = {**os.environ, "MICROPYPATH": str(ROOT / "micro")}
    done = subprocess.run(
        [MICROPYTHON, script], env=env, capture_output=True, text=True, check=True
    )
    first, consolidated, *known = done.stdout.splitlines()
    assert first == "upside down: None" and consolidated == "True"
    assert len(known) == 3
    assert all(re.fullmatch(r"(.*): \1 [01]\.\d\d", line) for line in known), known
