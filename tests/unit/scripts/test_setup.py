"""The setup's own decisions: what must be there, what counts as done, and one sentence when not."""

import ast
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from scripts import setup
from scripts.stack.anvil_path import anvil_package, anvil_path

ROOT = Path(__file__).resolve().parents[3]
Usage = namedtuple("Usage", ["total", "used", "free"])


def which_finds(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}" if name in names else None)
    monkeypatch.setattr(setup, "find_defect", lambda _: None)


def node_is(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    """Let ``node --version`` say this."""
    which_finds(monkeypatch, "node", "npm")
    said = subprocess.CompletedProcess(["node"], 0, stdout=f"{version}\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: said)


@pytest.mark.parametrize("name", ["setup.py", "stack/anvil_path.py"])
def test_sources__an_old_python__can_read_them(name: str) -> None:
    ast.parse((ROOT / "scripts" / name).read_text(), feature_version=(3, 8))


def test_find_python__running_one_suits__is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    which_finds(monkeypatch)
    monkeypatch.setattr(sys, "version_info", (3, 12, 1))
    monkeypatch.setattr(sys, "_base_executable", "/bin/running", raising=False)

    assert setup.find_python() == "/bin/running"


def test_find_python__running_one_is_old__another_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    which_finds(monkeypatch, "python3.11", "python3.13")
    monkeypatch.setattr(sys, "version_info", (3, 9, 2))

    assert setup.find_python() == "/bin/python3.13"


def test_find_python__running_one_is_very_new__a_known_one_comes_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 15, 0))
    monkeypatch.setattr(sys, "_base_executable", "/bin/running", raising=False)
    which_finds(monkeypatch, "python3.12")
    assert setup.find_python() == "/bin/python3.12"

    which_finds(monkeypatch)
    assert setup.find_python() == "/bin/running"


def test_find_python__only_an_old_one__says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    which_finds(monkeypatch)
    monkeypatch.setattr(sys, "version_info", (3, 9, 2))

    with pytest.raises(setup.SetupError, match=r"Python 3\.11 or newer is needed, this is 3\.9"):
        setup.find_python()


def test_find_python__shim_that_does_not_start__is_named_or_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shim = tmp_path / "python3.12"
    shim.write_text("#!/bin/sh\necho 'pyenv: python3.12: command not found' >&2\nexit 127\n")
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(sys, "version_info", (3, 9, 2))
    monkeypatch.setattr(shutil, "which", lambda name: str(shim) if name == "python3.12" else None)

    with pytest.raises(setup.SetupError, match=r"python3\.12 does not start \(pyenv: python3\.12"):
        setup.find_python()

    good = tmp_path / "python3.13"
    good.symlink_to("/bin/true")
    found = {"python3.12": str(shim), "python3.13": str(good)}
    monkeypatch.setattr(shutil, "which", found.get)
    assert setup.find_python() == str(good)


@pytest.mark.parametrize(("there", "missing"), [((), "node"), (("node",), "npm")])
def test_check_node__missing__says_which(
    monkeypatch: pytest.MonkeyPatch, there: tuple[str, ...], missing: str
) -> None:
    which_finds(monkeypatch, *there)

    with pytest.raises(setup.SetupError, match=f"^{missing} is not installed"):
        setup.check_node()


@pytest.mark.parametrize("version", ["v18.20.4", "v20.18.3", "v21.7.3", "v22.11.0"])
def test_check_node__too_old_for_the_pages__says_what_is_needed(
    monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    node_is(monkeypatch, version)

    with pytest.raises(setup.SetupError, match=r"Node\.js 20\.19 or 22\.12 or newer is needed"):
        setup.check_node()


@pytest.mark.parametrize("version", ["v20.19.0", "v22.12.1", "v23.0.0", "v26.1.0"])
def test_check_node__new_enough__is_taken(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    node_is(monkeypatch, version)

    assert setup.check_node() == version[1:]


def test_check_disk__full__says_how_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10, 9, 1024**3 // 2))

    with pytest.raises(setup.SetupError, match=r"the disk is too full: 0\.5 GiB free"):
        setup.check_disk()


def test_stage__input_changes__is_to_be_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, "ROOT", tmp_path)
    lock = tmp_path / "lock"
    lock.write_text("one")
    stage = setup.Stage(stamp=tmp_path / "made" / ".stamp", inputs=[lock], run=lambda _: None)
    assert not stage.is_done()

    stage.finish(stage.fingerprint())
    assert stage.is_done()

    lock.write_text("two")
    assert not stage.is_done()


def test_stage__tree_is_moved__is_to_be_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "lock").write_text("one")
    monkeypatch.setattr(setup, "ROOT", tmp_path / "here")
    here = setup.Stage(
        stamp=tmp_path / "here" / ".stamp", inputs=[tmp_path / "here" / "lock"], run=lambda _: None
    )
    before = here.fingerprint()

    monkeypatch.setattr(setup, "ROOT", tmp_path / "there")
    there = setup.Stage(stamp=here.stamp, inputs=[tmp_path / "there" / "lock"], run=lambda _: None)

    assert there.fingerprint() != before


def test_run_visibly__command_says_nothing__is_named_itself_with_its_usual_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(setup, "STATE", tmp_path)
    monkeypatch.setattr(setup, "HEARTBEAT_S", 0)
    with (tmp_path / "lock").open("w") as lock:
        setup.run_visibly(
            ["sh", "-c", "echo; sleep 0.1"],
            lock_fd=lock.fileno(),
            failure="sleep",
            usual="a blink",
        )

    shown = capsys.readouterr().out.splitlines()
    assert shown
    assert all(line.endswith("s  sh -c echo; sleep 0.1, usually a blink") for line in shown)


def test_main__a_stage_fails__is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise setup.SetupError("the disk is too full")

    monkeypatch.setattr(setup, "set_up", fail)
    monkeypatch.setattr("signal.signal", lambda *_: None)

    assert setup.main() == 1
    assert capsys.readouterr().err == "setup: the disk is too full\n"


def test_lock__build_tools__are_in_it_with_hashes() -> None:
    entries = setup._lock_entries("setuptools", "wheel")

    assert entries.startswith("setuptools==")
    assert "\nwheel==" in entries
    assert entries.count("--hash=sha256:") >= 2


def test_lock__all_of_it__names_no_host_and_no_path() -> None:
    for name in ("requirements.lock", "package-lock.json"):
        text = (ROOT / name).read_text()
        assert "://" not in text
        assert str(Path.home()) not in text


@pytest.mark.parametrize(
    ("system", "machine", "package"),
    [
        ("Linux", "x86_64", "@foundry-rs/anvil-linux-amd64"),
        ("Linux", "aarch64", "@foundry-rs/anvil-linux-arm64"),
        ("Darwin", "arm64", "@foundry-rs/anvil-darwin-arm64"),
    ],
)
def test_anvil_package__system__names_it(
    monkeypatch: pytest.MonkeyPatch, system: str, machine: str, package: str
) -> None:
    monkeypatch.setattr("platform.system", lambda: system)
    monkeypatch.setattr("platform.machine", lambda: machine)

    assert anvil_package() == package


def test_anvil_package__unknown_system__says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.system", lambda: "Plan9")

    with pytest.raises(LookupError, match="there is no anvil for Plan9"):
        anvil_package()


def test_anvil_path__not_installed__says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="make setup"):
        anvil_path(tmp_path)
