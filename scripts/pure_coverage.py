"""Measure how much of the pure modules the quick tests run, and hold each to a floor.

``make coverage``. The pure modules are those that the import rules of ``pyproject.toml`` name.
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

TESTS: Final = ("tests/unit", "tests/property", "tests/integration")


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
        config, report = Path(folder) / "coverage.ini", Path(folder) / "coverage.json"
        config.write_text(build_config(list_pure_files(), data_file=Path(folder) / "data"))
        tests = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile"),
                *("-m", "not slow and not bench", "-p", "pytest_cov", "--cov"),
                *(f"--cov-config={config}", f"--cov-report=json:{report}", *TESTS, *arguments),
            ],
            cwd=ROOT,
            check=False,
        )
        if tests.returncode != 0:
            is_usage = tests.returncode == _PYTEST_USAGE
            return ExitCode.UNUSABLE if is_usage else ExitCode.FAILED
        percents = read_percents(json.loads(report.read_text()))
    for name, percent in sorted(percents.items(), key=lambda found: (found[1], found[0])):
        print(f"{percent:6.1f} %  {name}")
    low = sorted(name for name, percent in percents.items() if percent < FLOOR_PERCENT)
    if low:
        print(f"below {FLOOR_PERCENT:.0f} %: {', '.join(low)}", file=sys.stderr)
    return ExitCode.FAILED if low else ExitCode.DONE


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
