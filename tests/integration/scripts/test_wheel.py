"""The wheel, installed where no clone is: what an operator runs.

::

    every data file of the rooms is in it, and none of the tests
    its name is not the command's, which a stranger holds in package registries
    from a folder of its own: help, settings refused by name, a new ledger, the pages
"""

import os
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.build_wheel import ROOMS, ROOT, build_wheel
from tests.support.folders import temporary_folder

NOT_READ_AT_RUN_TIME = (".vy", ".vyi", ".md", ".sh", ".stamp")


@pytest.fixture(scope="module")
def wheel() -> Iterator[Path]:
    with temporary_folder() as folder:
        yield build_wheel(Path(folder))


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    target = wheel.parent / "installed"
    arguments = ["install", "--quiet", "--no-deps", "--no-index", "--no-compile"]
    command = [sys.executable, "-m", "pip", *arguments, "--target", str(target), str(wheel)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return target


def run(
    installed: Path, *words: str, settings: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the installed package with the dependencies of this environment, and not this clone.

    ``-S``: the environment's ``.pth`` files, by which it finds the clone, are not read.
    """
    paths = os.pathsep.join([str(installed), sysconfig.get_paths()["purelib"]])
    return subprocess.run(
        [sys.executable, "-S", "-P", *words],
        cwd=installed.parent,
        env={"PYTHONPATH": paths, "PATH": os.defpath, **(settings or {})},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_content__data_files_of_all_rooms__are_there(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        str(path.relative_to(ROOT))
        for room in ROOMS
        for path in (ROOT / room).rglob("*")
        if path.is_file()
        and path.suffix not in NOT_READ_AT_RUN_TIME
        and path.name != ".stamp"
        and "__pycache__" not in path.parts
    }

    assert wanted - names == set()
    assert not {name for name in names if name.startswith(("tests/", "bench/", "web/"))}


def test_name__is_not_the_commands(wheel: Path) -> None:
    assert wheel.name.startswith("current_yield-")


def test_installed__alone__shows_the_help_of_the_whole_tree(installed: Path) -> None:
    shown = run(installed, "-m", "scripts.cli", "--help")

    assert shown.returncode == 0, shown.stderr
    assert "indexer verify" in shown.stdout


def test_installed__settings__are_asked_for_by_name(installed: Path) -> None:
    ended = run(installed, "-m", "scripts.cli", "proxy", settings={"PROXY_HOST": "127.0.0.1"})

    assert ended.returncode == 2
    assert "not set: PROXY_RPC_URL" in ended.stderr


def test_installed__a_new_ledger__is_made_with_the_migrations_of_the_wheel(
    installed: Path, tmp_path: Path
) -> None:
    path = tmp_path / "ledger.sqlite3"
    made = run(
        installed,
        "-m",
        "scripts.cli",
        "ledger",
        "upgrade",
        settings={"CURRENT_LEDGER_URL": f"sqlite:///{path}"},
    )

    assert made.returncode == 0, made.stderr
    assert path.stat().st_size > 0


def test_installed__pages_and_abi__are_read_from_the_wheel(installed: Path) -> None:
    code = (
        "from contracts.bindings import load_abi; import market, proxy, pathlib;"
        "pages = [pathlib.Path(room.__file__).parent / 'site' for room in (market, proxy)];"
        "print(all((page / 'index.html').is_file() for page in pages), bool(load_abi('Payouts')));"
        "print(market.__file__)"
    )
    said = run(installed, "-c", code)

    assert said.returncode == 0, said.stderr
    told, place = said.stdout.splitlines()
    assert told == "True True"
    assert Path(place).is_relative_to(installed)


def test_installed__documentation_as_text__comes_from_the_wheel(installed: Path) -> None:
    code = (
        "from serving.http.text_pages import FOLDER, load_pages;"
        "print(FOLDER); print(len(load_pages(['api', 'market'])[1].text) > 1000)"
    )
    done = run(installed, "-c", code)

    assert done.stdout.split() == [str(installed / "serving" / "docs"), "True"], done.stderr
