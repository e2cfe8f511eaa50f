"""Tests in forks: all are run once and told of, whatever becomes of a fork."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from scripts.stack.anvil_path import ROOT

FILE: Final = """
import os
import signal
import time
from pathlib import Path

import pytest

@pytest.fixture(scope="session")
def stand():
    yield
    Path(__file__).with_name("ended").touch()
    assert "{kind}" != "end", "the stand does not end"

@pytest.mark.parametrize("case", range(5))
def test_case(case, stand, tmp_path):
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    print("said by", case)
    if "{kind}" == "interrupts":
        os.kill(os.getppid(), signal.SIGINT)
        time.sleep(600)
    if "{kind}" == "dies" and case == 2:
        os._exit(3)
    if "{kind}" == "ends" and case == 2:
        os._exit(0)
    assert ("{kind}", case) != ("fails", 1)
"""


@pytest.fixture
def run(tmp_path: Path) -> "subprocess.CompletedProcess[str]":
    """Run files of which all hold but one that fails and one that dies."""
    return run_files(tmp_path, "holds", "fails", "dies", "too")


def run_files(folder: Path, *kinds: str, forks: int = 2) -> "subprocess.CompletedProcess[str]":
    for kind in kinds:
        (folder / f"test_{kind}.py").write_text(FILE.replace("{kind}", kind))
    (folder / "pytest.ini").write_text("[pytest]\n")
    return subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "tests.support.forked", "-q"),
            *("--forks", str(forks)),
            *("-p", "no:cacheprovider", "--disable-plugin-autoload"),
            *("-c", str(folder / "pytest.ini"), str(folder)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_run__one_fails_and_one_dies__all_others_are_run_and_told_of(
    run: "subprocess.CompletedProcess[str]",
) -> None:
    assert run.returncode == pytest.ExitCode.TESTS_FAILED
    assert "2 failed, 18 passed" in run.stdout
    assert "the process of this test ended with 3" in run.stdout
    assert re.search(r"FAILED \S*test_fails\.py::test_case\[1\]", run.stdout)
    assert re.search(r"FAILED \S*test_dies\.py::test_case\[2\]", run.stdout)
    assert run.stdout.count("said by 1") == 1, "the output of the test that failed, and only its"


def test_run__forks_end_again_and_again__every_file_is_run(tmp_path: Path) -> None:
    run = run_files(tmp_path, "ends", "dies", "holds", "too", forks=1)

    assert run.returncode == pytest.ExitCode.TESTS_FAILED
    assert "2 failed, 18 passed" in run.stdout
    assert "the process of this test ended with 0" in run.stdout


def test_run__the_sessions_stand_does_not_end__the_run_has_failed(tmp_path: Path) -> None:
    run = run_files(tmp_path, "end")

    assert run.returncode == pytest.ExitCode.INTERNAL_ERROR
    assert "the stand does not end" in run.stdout


def test_run__interrupted__its_forks_end_with_their_stands(tmp_path: Path) -> None:
    run = run_files(tmp_path, "interrupts")

    assert run.returncode == pytest.ExitCode.INTERRUPTED
    assert (tmp_path / "ended").exists()


def test_run__all_hold__done(tmp_path: Path) -> None:
    run = run_files(tmp_path, "holds")

    assert run.returncode == pytest.ExitCode.OK
    assert "5 passed" in run.stdout
