"""The gas bench: whom it measures beside ours, its report with aims and ratios."""

import pytest

from bench.gas import main
from bench.gas.main import AIMS, CIRCLE, LABELS, REFERENCES, build_report, load_references
from bench.gas.measure import Measured
from bench.peers import Code, Peer, Peers, parse_peers
from bench.report import BenchError


def measured() -> Measured:
    gas = dict.fromkeys(LABELS, 30_000)
    return Measured(
        mint={},
        direct={"snekmate": {"deposit": 20_000, "withdraw": 10_000}},
        through={"snekmate": gas},
        ours=gas,
        mocked=gas,
        vault="snekmate",
    )


def test_report__aims__are_the_tables_and_for_a_deposit_the_direct_one() -> None:
    ratios = build_report(measured(), settings={}, skipped={})["ratios"]

    assert ratios["deposit"] == round(30_000 / 33_600, 4)
    assert ratios["createVault"] == 0.2
    assert set(ratios) == {*AIMS, "deposit"}


def test_report__no_peer__says_why_and_on_which_vault() -> None:
    report = build_report(measured(), settings={}, skipped={"solady": "no network"})

    assert report["skipped"] == {"solady": "no network"}
    assert report["settings"]["vault"] == "snekmate"
    assert {row["unit"] for row in report["rows"]} == {"gas"}


def test_references__npm_fails__all_skipped_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail() -> Peers:
        raise BenchError("no network")

    monkeypatch.setattr(main, "load_peers", fail)

    assert load_references() == ({}, {}, dict.fromkeys((*REFERENCES, CIRCLE), "no network"))


def test_references__one_does_not_compile__others_are_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    contracts = {"Vault": {"abi": [], "bytecode": "0x60"}}
    collected = {
        "settings": {"solc": "0.8.37"},
        "peers": {
            "OpenZeppelin": {"failure": "Parser error"},
            "Safe": {"version": "1.5.0", "contracts": {}},
            **{name: {"version": "1", "contracts": contracts} for name in ("solady", "solmate")},
        },
    }
    monkeypatch.setattr(main, "load_peers", lambda: parse_peers(collected))

    settings, found, skipped = load_references()

    assert settings == {"solc": "0.8.37"}
    assert found == dict.fromkeys(("solady", "solmate"), Peer("1", {"Vault": Code([], "0x60")}))
    assert skipped == {"OpenZeppelin": "Parser error"}
