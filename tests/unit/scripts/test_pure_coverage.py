"""Which files are measured, and how a report is read."""

from pathlib import Path

from scripts.pure_coverage import (
    FLOOR_PERCENT,
    build_config,
    find_low,
    list_pure_files,
    read_percents,
)
from scripts.stack.anvil_path import ROOT


def test_files__each_pure_module__is_there() -> None:
    files = list_pure_files()
    assert "serving/models/weight.py" in files
    assert [file for file in files if not (ROOT / file).is_file()] == []


def test_config__files__named_one_a_line() -> None:
    assert build_config(["a.py", "b/c.py"], data_file=Path("/x/data")) == (
        "[run]\nbranch = true\ndata_file = /x/data\ninclude =\n    a.py\n    b/c.py\n"
    )


def test_percents__report__by_file() -> None:
    report = {"files": {"a.py": {"summary": {"percent_covered": 94.5, "num_statements": 7}}}}
    assert read_percents(report) == {"a.py": 94.5}


def test_low__at_the_floor_or_above__is_none_of_them() -> None:
    percents = {"c.py": FLOOR_PERCENT - 0.1, "a.py": FLOOR_PERCENT, "b.py": 0.0}
    assert find_low(percents) == ["b.py", "c.py"]
