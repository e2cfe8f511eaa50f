"""Every level of ``current``: help without settings, and what is wrong said before settings are.

::

    for each command of the tree
    ├── --help: works without any setting; it, its arguments and options say what they mean
    ├── --help: defaults, settings and exit codes
    ├── an unknown option, or a word too many: exit 2, usage, no setting read
    └── what its help calls required is what its settings require
    an unknown command: exit 2 and what may have been meant
    `python -m room` is `current room`
"""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from scripts.cli import commands
from scripts.export_settings import CLASSES, list_settings
from serving.process.command_line import Argument, Command, Group, walk
from serving.process.exit_codes import ExitCode
from serving.process.settings import ProcessSettings

TREE = [((), commands), *walk(commands)]
EACH = [pytest.param(path, command, id=" ".join(path) or "current") for path, command in TREE]
LEAVES = [
    pytest.param(path, command, id=" ".join(path))
    for path, command in TREE
    if not isinstance(command, click.Group)
]


@pytest.fixture(autouse=True)
def unreadable_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail whoever reads settings."""

    def refuse(cls: type[ProcessSettings], _environment: Mapping[str, str] | None = None) -> Any:
        raise AssertionError(f"{cls.__name__} is read")

    monkeypatch.setattr(ProcessSettings, "from_environment", classmethod(refuse))
    yield


def run(*words: str) -> Result:
    return CliRunner(mix_stderr=False).invoke(commands, list(words), prog_name="current")


@pytest.mark.parametrize(("path", "command"), EACH)
def test_help__every_level__says_what_everything_means(
    path: tuple[str, ...], command: click.Command
) -> None:
    shown = run(*path, "--help")
    text = " ".join(shown.stdout.split())

    assert (shown.exit_code, shown.stderr) == (0, "")
    assert isinstance(command, Command)
    assert shown.stdout == run(*path, "-h").stdout
    assert command.help
    assert "Exit codes:" in shown.stdout
    for param in command.params:
        assert isinstance(param, (click.Option, Argument))
        assert param.help, f"{param.name} says nothing"
        assert " ".join(param.help.split()) in text
        if isinstance(param, click.Option) and isinstance(param.default, str | int):
            assert param.is_flag or f"[default: {param.default}" in text
    assert all(name in text for name in command.settings)
    if isinstance(command, Group):
        for below, one in walk(command):
            if not isinstance(one, click.Group) or one.invoke_without_command:
                assert f" {' '.join(below)} " in text


@pytest.mark.parametrize(("path", "command"), EACH)
def test_wrong_option__every_level__exit_2_before_settings(
    path: tuple[str, ...], command: click.Command
) -> None:
    ended = run(*path, "--no-such-option")

    assert ended.exit_code == ExitCode.UNUSABLE
    assert ended.stdout == ""
    assert f"Usage: {' '.join(['current', *path])}" in ended.stderr
    assert "Error: No such option: --no-such-option" in ended.stderr
    assert command.name


@pytest.mark.parametrize(("path", "command"), EACH)
def test_word_too_many__every_level__exit_2_before_settings(
    path: tuple[str, ...], command: click.Command
) -> None:
    takes = sum(isinstance(param, click.Argument) for param in command.params)
    ended = run(*path, *(["0"] * takes), "surplus")

    assert ended.exit_code == ExitCode.UNUSABLE
    assert ended.stdout == ""
    assert "Error: " in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(("path", "command"), LEAVES)
def test_values__outside_what_is_taken__exit_2_before_settings(
    path: tuple[str, ...], command: click.Command
) -> None:
    refusing = [
        param
        for param in command.params
        if isinstance(param, click.Option)
        and not param.is_flag
        and not isinstance(param.type, (click.types.StringParamType, click.Path))
    ]
    for param in refusing:
        ended = run(*path, param.opts[0], "nonsense")

        assert ended.exit_code == ExitCode.UNUSABLE, param.name
        assert f"Invalid value for '{param.opts[0]}'" in ended.stderr
        assert ended.stdout == ""


@pytest.mark.parametrize("url", ["nonsense", "ftp://host", "http://", "http://a b", "http://h:0"])
@pytest.mark.parametrize(
    "words",
    [
        ("audit", "--rpc-url"),
        ("receipt", "verify", "request", "--rpc-url"),
        ("position", "show", "0", "--api-url"),
    ],
)
def test_url__no_client_can_use_it__exit_2_and_a_sentence(words: tuple[str, ...], url: str) -> None:
    ended = run(*words, url)

    assert ended.exit_code == ExitCode.UNUSABLE
    assert f"Invalid value for '{words[-1]}': not an http or https URL" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("process", sorted(CLASSES))
def test_required_settings__in_help__are_those_of_the_class(process: str) -> None:
    required = [name for name, field in list_settings(CLASSES[process]) if field.is_required()]
    named = {
        path: command.settings
        for path, command in walk(commands)
        if path[0] == process.lower() and isinstance(command, Command)
    }

    assert named
    assert {path: sorted(names) for path, names in named.items()} == dict.fromkeys(
        named, sorted(required)
    )


def test_no_arguments__shows_help() -> None:
    assert run().stdout == run("--help").stdout
    assert run().exit_code == 0


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["indexr"], "'indexer'"),
        (["Keeper"], "'keeper'"),
        (["audti"], "'audit'"),
        (["indexer", "verfy"], "'verify'"),
        (["keeper", "writeoff"], "'write-off'"),
        (["market", "sellerfee"], "'seller-fee'"),
        (["report"], "'keeper report'"),
        (["verify"], "'evidence verify' or 'indexer verify' or 'receipt verify'"),
        (["key", "isue"], "'issue'"),
    ],
)
def test_unknown_command__near_one__suggests_it(words: list[str], meant: str) -> None:
    ended = run(*words)

    assert ended.exit_code == ExitCode.UNUSABLE
    assert f"Error: no command {words[-1]!r}; did you mean {meant}?" in ended.stderr


def test_unknown_command__near_none__suggests_nothing() -> None:
    ended = run("xyzzy")

    assert ended.exit_code == ExitCode.UNUSABLE
    assert "Error: no command 'xyzzy'\n" in ended.stderr


def test_unknown_option__near_one__suggests_it() -> None:
    assert "Did you mean --dry-run?" in run("keeper", "once", "--dryrun").stderr


def test_job__unknown__says_which_there_are() -> None:
    ended = run("keeper", "once", "--job", "setle")

    assert ended.exit_code == ExitCode.UNUSABLE
    assert "'settle', " in ended.stderr


@pytest.mark.parametrize("room", ["indexer", "keeper", "market", "proxy"])
def test_module__of_a_process__is_the_same_command(room: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", room, "--help"], capture_output=True, text=True, check=True
    )

    shown = run(room, "--help").stdout
    assert done.stdout.split()[1:4] == ["python", "-m", room]
    assert done.stdout.split()[4:] == shown.split()[3:]
