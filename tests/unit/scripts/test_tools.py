"""The commands for those who build: help without setup, and what is wrong said with exit code 2."""

import subprocess
import sys
from importlib import import_module

import click
import pytest
from click.testing import CliRunner

from scripts.stack.anvil_path import ROOT
from serving.process.command_line import Argument, Command
from serving.process.exit_codes import ExitCode

TOOLS = [
    *("bench.gas.main", "bench.indexer.main", "bench.keeper.main", "bench.market.main"),
    *("bench.revocation.main", "bench.settlement.main"),
    *("bench.proxy.main", "scripts.export_abi", "scripts.export_settings", "scripts.mutants"),
    *("scripts.pure_coverage", "scripts.stack.base_node", "scripts.stack.model"),
    *("scripts.stack.devnet_api", "scripts.build_wheel", "scripts.build_docs"),
    *("scripts.runtime_lock", "bench.crash.main", "bench.scale.main", "bench.web.main"),
]


def load(tool: str) -> Command:
    command = import_module(tool).main
    assert isinstance(command, Command)
    return command


@pytest.mark.parametrize("tool", TOOLS)
def test_help__each_tool__says_what_everything_means(tool: str) -> None:
    command = load(tool)

    shown = CliRunner(mix_stderr=False).invoke(command, ["--help"])

    assert (shown.exit_code, shown.stderr) == (ExitCode.DONE, "")
    assert "Exit codes:" in shown.stdout
    for param in command.params:
        assert isinstance(param, (click.Option, Argument))
        assert param.help or getattr(param, "hidden", False), f"{param.name} says nothing"


@pytest.mark.parametrize("tool", [tool for tool in TOOLS if tool != "scripts.pure_coverage"])
def test_unknown_option__each_tool__exit_2_and_usage(tool: str) -> None:
    ended = CliRunner(mix_stderr=False).invoke(load(tool), ["--no-such-option"])

    assert (ended.exit_code, ended.stdout) == (ExitCode.UNUSABLE, "")
    assert "Usage: " in ended.stderr
    assert "No such option: --no-such-option" in ended.stderr


def test_every_tool__is_listed() -> None:
    found = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for folder in ("scripts", "bench")
        for path in (ROOT / folder).rglob("*.py")
        if "@command(" in path.read_text(encoding="utf-8")
    }

    # The commands of ``current``: see ``tests/unit/scripts/test_cli.py``.
    of_current = {
        name for name in found if name.endswith(("commands", "scripts.checks", "sell_earnings"))
    }
    assert found - of_current == set(TOOLS)


@pytest.mark.parametrize(("words", "code"), [(["--help"], 0), (["-h"], 0), (["surplus"], 2)])
def test_setup__any_argument__says_what_it_does_and_sets_nothing_up(
    words: list[str], code: int
) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "scripts.setup", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == code
    assert "python3 -m scripts.setup" in (ended.stderr if code else ended.stdout)
