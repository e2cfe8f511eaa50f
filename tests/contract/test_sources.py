"""The sources against what was made from them: reasons, ABI, sizes."""

import re
from pathlib import Path
from typing import Any

import pytest
from ape.managers.project import ProjectManager
from click.testing import CliRunner

from contracts.errors import REASONS, UNKNOWN_REASON, Rejected, Reverted
from scripts.export_abi import ROOT, build_abis, find_stale, main, name_outputs
from serving.process.exit_codes import ExitCode

CONTRACTS = ROOT / "contracts"
CODE_LIMIT_BYTES = 24_576


def reasons_in_sources() -> set[str]:
    """Collect the reasons of every assert and raise outside the mocks; fail on a bare one."""
    found: set[str] = set()
    for path in CONTRACTS.glob("*.vy"):
        source = re.sub(r'"""[\s\S]*?"""', "", path.read_text())
        statements = re.findall(r"^ *(?:assert|raise)\b.*$", source, re.MULTILINE)
        for statement in statements:
            reason = re.search(r'"([^"]+)"$', statement)
            assert reason is not None, f"{path.name}: without a reason: {statement.strip()}"
            found.add(reason.group(1))
    return found


def test_reasons__all_mapped_none_dead() -> None:
    assert reasons_in_sources() == set(REASONS)


@pytest.mark.parametrize("reason", sorted(REASONS))
def test_reasons__form__module_colon_lower_case(reason: str) -> None:
    assert re.fullmatch(r"(position|adapter|payouts|owner): [a-z0-9, ]+", reason)
    assert len(reason.encode()) <= 32
    assert REASONS[reason]


def test_reverted__known_reason__says_what_to_do() -> None:
    error = Reverted("position: soulbound")
    assert isinstance(error, Rejected)
    assert (error.module, error.meaning) == ("position", REASONS["position: soulbound"])


@pytest.mark.parametrize("reason", ["", "ERC4626: too much"])
def test_reverted__foreign_reason__says_so(reason: str) -> None:
    assert Reverted(reason).meaning == UNKNOWN_REASON


def test_abi__exported__fresh() -> None:
    assert find_stale(build_abis()) == []


def test_abi__stale_or_missing__check_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale = tmp_path / "Stale.json"
    monkeypatch.setattr("scripts.export_abi.ROOT", tmp_path)
    monkeypatch.setattr("scripts.export_abi.build_abis", lambda: {stale: "[]\n"})
    checked = CliRunner().invoke(main, ["--check"])
    assert (checked.exit_code, checked.stdout) == (ExitCode.FAILED, "stale: Stale.json\n")
    assert not stale.exists()
    assert CliRunner().invoke(main, []).exit_code == ExitCode.DONE
    assert CliRunner().invoke(main, ["--check"]).exit_code == ExitCode.DONE


def test_outputs__named_by_the_first_word_of_their_return() -> None:
    output = {"name": "", "type": "uint256"}
    abi: list[dict[str, Any]] = [
        {"type": "function", "name": "settle", "outputs": [output]},
        {"type": "function", "name": "owed", "outputs": [output]},
        {"type": "event", "name": "Settled"},
    ]
    devdoc = {"methods": {"settle(bytes32,uint256)": {"returns": {"_0": "amount USDC sent."}}}}

    named = name_outputs(abi, devdoc)

    assert [entry.get("outputs") for entry in named] == [
        [{"name": "amount", "type": "uint256"}],
        [{"name": "owed", "type": "uint256"}],
        None,
    ]


@pytest.mark.parametrize("name", ["YieldFundedPosition", "LendingYieldAdapter", "Payouts"])
def test_code_size__each_contract__below_limit(project: ProjectManager, name: str) -> None:
    code = project.get_contract(name).contract_type.runtime_bytecode
    assert code is not None and code.bytecode is not None
    assert len(bytes.fromhex(str(code.bytecode).removeprefix("0x"))) < CODE_LIMIT_BYTES
