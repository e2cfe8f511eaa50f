"""The list of mutations fits the contracts it breaks, and the runner reads pytest aright."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from scripts.mutants import (
    CONTRACT_TESTS,
    NOT_PLAYED,
    MutationUnknown,
    choose,
    deployed_from,
    main,
    record,
)
from scripts.mutants_copy import MutantsError, first_failure
from scripts.mutants_list import (
    Mutation,
    MutationResult,
    digest_sources,
    keep,
    load_kept,
    load_mutations,
)
from scripts.mutants_stand import run_in_fork
from serving.process.exit_codes import ExitCode

ROOT = Path(__file__).resolve().parents[3]
CONTRACTS = ROOT / "contracts"
MUTATIONS = load_mutations()
DOCUMENT = (ROOT / "docs" / "mutants.md").read_text()


def mutation(*, excuse: str = "") -> Mutation:
    return Mutation("a name", "account.vy", "<=", "<", "P2", ("test_hold.py",), excuse)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_list__each_mutation__fits_its_source_once(mutation: Mutation) -> None:
    source = (CONTRACTS / mutation.source).read_text()

    assert source.count(mutation.old) == 1, "its old text must be in the source exactly once"
    assert mutation.apply(source) != source


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_list__each_mutation__names_tests_that_are_run_and_is_documented(
    mutation: Mutation,
) -> None:
    assert mutation.tests
    assert not set(mutation.tests) & set(NOT_PLAYED)
    for test in mutation.tests:
        file, _, function = test.partition("::")
        assert f"def {function}" in (ROOT / CONTRACT_TESTS / file).read_text()
    assert f"| {mutation.name} | {mutation.breaks} |" in DOCUMENT
    assert mutation.excuse in DOCUMENT


def test_list__names__differ_and_none_is_the_same_mistake() -> None:
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS)
    assert len({(m.source, m.old, m.new) for m in MUTATIONS}) == len(MUTATIONS)


def test_list__contracts__all_that_move_or_count_money_are_there() -> None:
    assert {mutation.source for mutation in MUTATIONS} == {
        *("YieldFundedPosition.vy", "account.vy", "batch_ids.vy", "two_step_owner.vy"),
        *("LendingYieldAdapter.vy", "vault_calls.vy", "Payouts.vy"),
    }


@pytest.mark.parametrize("text", ["a < b", "a <= b <= c"])
def test_apply__old_text_not_there_once__refuses(text: str) -> None:
    with pytest.raises(MutantsError, match="a name: its old text is"):
        mutation().apply(text)


@pytest.mark.parametrize(
    ("excuse", "outcome", "is_good"),
    [
        ("", "killed", True),
        ("", "survived", False),
        ("", "error", False),
        ("harmless", "survived", True),
        ("harmless", "killed", False),
    ],
)
def test_verdict__good__only_as_the_list_says(excuse: str, outcome: str, is_good: bool) -> None:
    assert MutationResult(mutation(excuse=excuse), outcome, "", 1.0).is_good is is_good


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("batch_ids.vy", ["YieldFundedPosition", "Payouts"]),
        ("account.vy", ["YieldFundedPosition"]),
        ("vault_calls.vy", ["LendingYieldAdapter"]),
        ("Payouts.vy", ["Payouts"]),
    ],
)
def test_deployed_from__module__every_contract_it_is_part_of(source: str, names: list[str]) -> None:
    assert deployed_from(source, CONTRACTS) == names


@pytest.mark.parametrize(
    ("line", "test"),
    [
        (
            "FAILED tests/contract/test_hold.py::test_hold__again__replaces - assert 1 == 2",
            "test_hold.py::test_hold__again__replaces",
        ),
        (
            "FAILED tests/contract/test_hostile_vault.py::test_reentry[exit in kind]",
            "test_hostile_vault.py::test_reentry[exit in kind]",
        ),
        (
            "ERROR tests/contract/test_hold.py::test_hold__zero - RuntimeError",
            "test_hold.py::test_hold__zero (its setup)",
        ),
    ],
)
def test_first_failure__summary__names_the_test(line: str, test: str) -> None:
    assert first_failure(f"F\n=== short test summary info ===\n{line}\n1 failed in 2 s") == test


def test_choose__part_of_a_name__those_only_and_unknown_refused() -> None:
    chosen = choose(MUTATIONS, ["cap rounds"])

    assert [mutation.name for mutation in chosen] == ["cap rounds up"]
    assert choose(MUTATIONS, []) == MUTATIONS
    with pytest.raises(MutationUnknown, match="no mutation is called 'nonsense'"):
        choose(MUTATIONS, ["nonsense"])


def test_record__document__keeps_its_text_and_gets_new_tables(tmp_path: Path) -> None:
    document = tmp_path / "mutants.md"
    document.write_text("# Mutations\n\nText.\n\n### old.vy\n\n| gone |\n")
    first, second, third, fourth = (
        replace(mutation(excuse=excuse), name=name)
        for name, excuse in (("a", ""), ("b", "harmless"), ("c", ""), ("d", ""))
    )
    verdicts = {
        "a": MutationResult(first, "killed", "test_hold.py::test_hold__zero[1-2]", 1.0),
        "b": MutationResult(second, "survived", "harmless", 1.0),
        # Of another mistake under the same name.
        "c": MutationResult(replace(third, new=">"), "killed", "test_hold.py::test", 1.0),
        "d": MutationResult(fourth, "error", "the process has ended", 1.0),
    }

    earlier = {"d": MutationResult(fourth, "killed", "test_settle.py::test", 1.0)}

    record([first, second, third, fourth], verdicts, earlier, document)

    assert document.read_text() == (
        "# Mutations\n\nText.\n\n### account.vy\n\n| mutation | breaks | noticed by |\n"
        "|---|---|---|\n| a | P2 | `test_hold.py::test_hold__zero` |\n"
        "| b | P2 | **survived** |\n| c | P2 | not run |\n"
        "| d | P2 | `test_settle.py::test`, earlier |\n"
    )


def test_main__name_of_no_mutation__said() -> None:
    ended = CliRunner(mix_stderr=False).invoke(main, ["--list", "--only", "no such mutation"])

    assert ended.exit_code == ExitCode.UNUSABLE
    assert ended.stderr == "Error: no mutation is called 'no such mutation'\n"


def test_keep__verdicts__found_again_for_the_same_sources_only(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "mutants.jsonl"
    first = MutationResult(mutation(), "error", "pytest ended", 2.5)
    again = MutationResult(mutation(), "killed", "test_hold.py::test_hold__zero[é]", 1.0)

    assert load_kept("digest", path) == {}
    for verdict in (first, again):
        keep(verdict, "digest", path)

    assert load_kept("digest", path) == {"a name": again}
    assert load_kept("another", path) == {}
    assert load_kept(None, path) == {"a name": again}


def test_digest__one_letter_of_a_source__changes_it(tmp_path: Path) -> None:
    source = tmp_path / "account.vy"
    source.write_text("a")
    before = digest_sources(tmp_path)
    source.write_text("b")

    assert digest_sources(tmp_path) != before


@pytest.mark.parametrize(
    ("task", "status", "said"),
    [
        (lambda names: os.write(1, "".join(names).encode()), 6, "onetwo"),
        (lambda names: sys.exit(len(names)), 2, ""),
        (lambda _: int("no number"), 2, ""),
        (lambda _: os.kill(os.getpid(), signal.SIGKILL), -9, ""),
    ],
)
def test_fork__task__its_status_and_what_it_said(
    task: Callable[[Sequence[str]], Any], status: int, said: str
) -> None:
    ended, output = run_in_fork(task, ["one", "two"])

    assert (ended, output) == (status, said)
