"""Measure how much of the pure modules the quick tests run, and hold each to a floor.

``make coverage``. The pure modules are those that the import rules of ``pyproject.toml`` name.
What is pure is mostly shown without servers and chains: the tests with them, which take the most
time by far, run for the modules that are below the floor without them, and count in addition.
"""

import json
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from scripts.stack.anvil_path import ROOT
from serving.process.command_line import argument, command
from serving.process.exit_codes import ExitCode

FLOOR_PERCENT: Final = 95.0
"""Of statements and branches together, for each module."""
_PYTEST_USAGE: Final = 4
"""How pytest ends where it does not know an argument."""

ALONE: Final = ("tests/unit", "tests/property")
"""The tests that run for every module."""
WITH_OTHERS: Final = ("tests/integration",)
"""The tests that run for modules which the others leave below the floor."""


@command(
    "pure_coverage",
    help=__doc__,
    exit_codes={
        ExitCode.DONE: "each pure module is at the floor or above",
        ExitCode.FAILED: "a test failed, or a module is below the floor",
        ExitCode.UNUSABLE: "wrong arguments: pytest does not take them",
    },
    context_settings={"ignore_unknown_options": True},
)
@argument("arguments", nargs=-1, type=click.UNPROCESSED, help="Further arguments of pytest.")
def main(arguments: Sequence[str]) -> ExitCode:
    """Run the tests, with further arguments of pytest, and print every pure module."""
    with tempfile.TemporaryDirectory(prefix="current-coverage-") as folder:
        measured = _run(Path(folder), list_pure_files(), (*ALONE, *arguments))
        if isinstance(measured, ExitCode):
            return measured
        percents = measured
        rest = find_low(percents)
        if rest:
            print(f"below {FLOOR_PERCENT:.0f} % without servers and chains: {', '.join(rest)}")
            measured = _run(Path(folder), rest, ("--cov-append", *WITH_OTHERS, *arguments))
            if isinstance(measured, ExitCode):
                return measured
            percents = {**percents, **{name: measured[name] for name in rest}}
    for name, percent in sorted(percents.items(), key=lambda found: (found[1], found[0])):
        print(f"{percent:6.1f} %  {name}")
    low = find_low(percents)
    if low:
        print(f"below {FLOOR_PERCENT:.0f} %: {', '.join(low)}", file=sys.stderr)
    return ExitCode.FAILED if low else ExitCode.DONE


def _run(
    folder: Path, files: Sequence[str], arguments: Sequence[str]
) -> dict[str, float] | ExitCode:
    """Run tests and return the percentage of each file, or how it ends where they do not pass."""
    config, report = folder / "coverage.ini", folder / "coverage.json"
    config.write_text(build_config(files, data_file=folder / "data"))
    tests = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile"),
            *("-m", "not slow and not bench", "-p", "pytest_cov", "--cov"),
            *(f"--cov-config={config}", f"--cov-report=json:{report}", *arguments),
        ],
        cwd=ROOT,
        check=False,
    )
    if tests.returncode != 0:
        is_usage = tests.returncode == _PYTEST_USAGE
        return ExitCode.UNUSABLE if is_usage else ExitCode.FAILED
    return read_percents(json.loads(report.read_text()))


def find_low(percents: Mapping[str, float]) -> list[str]:
    """Return the files that are below the floor."""
    return sorted(name for name, percent in percents.items() if percent < FLOOR_PERCENT)


def list_pure_files() -> list[str]:
    """Return the files of the modules that the import rules hold to be pure."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    names = [
        name
        for contract in config["tool"]["importlinter"]["contracts"]
        if contract["name"].startswith("Pure modules")
        for name in contract["source_modules"]
    ]
    files = [Path(*name.split(".")) for name in names]
    return [
        (file / "__init__.py" if (ROOT / file).is_dir() else file.with_suffix(".py")).as_posix()
        for file in files
    ]


def build_config(files: Sequence[str], *, data_file: Path) -> str:
    """Return coverage's settings for some files."""
    listed = "".join(f"\n    {file}" for file in files)
    return f"[run]\nbranch = true\ndata_file = {data_file}\ninclude ={listed}\n"


def read_percents(report: Mapping[str, Any]) -> dict[str, float]:
    """Return the percentage of each file in coverage's JSON report."""
    return {
        name: float(found["summary"]["percent_covered"]) for name, found in report["files"].items()
    }


if __name__ == "__main__":
    main(prog_name="python -m scripts.pure_coverage")
