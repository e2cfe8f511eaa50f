"""The gas bench's report: aims, ratios, and who is named as skipped."""

from pathlib import Path

from scripts.bench_gas import AIMS, LABELS, Measured, build_report

ROOT = Path(__file__).resolve().parents[2]


def measured() -> Measured:
    gas = dict.fromkeys(LABELS, 30_000)
    return Measured(
        mint={},
        direct={"snekmate": {"deposit": 20_000, "withdraw": 10_000}},
        through={"snekmate": gas},
        ours=gas,
        vault="snekmate",
    )


def test_report__aims__are_the_tables_and_for_a_deposit_the_direct_one() -> None:
    ratios = build_report(measured(), settings={}, skipped={})["ratios"]

    assert ratios["deposit"] == round(30_000 / 32_000, 4)
    assert ratios["createVault"] == 0.2
    assert set(ratios) == {*AIMS, "deposit"}


def test_report__no_peer__says_why_and_on_which_vault() -> None:
    report = build_report(measured(), settings={}, skipped={"solady": "no network"})

    assert report["skipped"] == {"solady": "no network"}
    assert report["settings"]["vault"] == "snekmate"
    assert {row["unit"] for row in report["rows"]} == {"gas"}


def test_lock__peers__names_no_host_and_no_path() -> None:
    text = (ROOT / "bench" / "package-lock.json").read_text()

    assert "://" not in text
    assert str(Path.home()) not in text
