"""Benchmark files: their one form, and the table over all of them."""

import io
import json

import pytest
from rich.console import Console

from tinyinc_host import report


def shown(folder):
    text = io.StringIO()
    holds = report.show(folder, Console(file=text, width=160))
    return holds, text.getvalue()


def test_a_file_holds_where_and_what(tmp_path):
    path = tmp_path / "bench" / "host.json"
    report.write(
        path,
        [
            report.at_least("accuracy", 0.95, "", 0.94, "joint training"),
            report.at_most("ratio", 0.2, "", 0.15),
            report.Result("size", 1234, "bytes"),
        ],
    )
    content = json.loads(path.read_text())
    assert list(content) == ["machine", "compiler", "commit", "results"]
    assert content["machine"] and isinstance(content["commit"], str)
    assert [tuple(result) for result in content["results"]] == [report.FIELDS] * 3
    assert [result["holds"] for result in content["results"]] == [True, False, None]
    assert content["results"][0]["target"] == ">= 0.94"


def test_the_table_shows_every_file_and_whether_all_holds(tmp_path):
    report.write(tmp_path / "host.json", [report.at_least("speed", 30.0, "times", 25)])
    assert shown(tmp_path)[0] is True
    report.write(tmp_path / "board.json", [report.at_most("stack", 900, "bytes", 800)])
    holds, text = shown(tmp_path)
    assert holds is False
    for word in ("host", "speed", "30", ">= 25", "yes", "board", "stack", "<= 800", "NO"):
        assert word in text


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "not JSON"),
        ("[]", "no list of results"),
        ('{"results": [{"name": "x"}]}', "result 0 lacks value"),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path, content, complaint):
    (tmp_path / "bad.json").write_text(content)
    with pytest.raises(ValueError, match=f"bad.json.*{complaint}"):
        shown(tmp_path)


def test_no_files_says_what_to_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="make bench"):
        shown(tmp_path)
