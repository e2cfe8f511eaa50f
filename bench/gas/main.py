"""Measure our gas beside OpenZeppelin, solady and solmate: ``python -m bench.gas.main``.

Whole transactions, as a wallet pays them, all in one run, over Circle's own USDC and beside it over
the mock. The references come from npm (``bench/peers.py``); ours are the contracts that
``make setup`` compiled. Prints two tables and writes ``bench/results/gas.json``.
"""

from __future__ import annotations

from typing import Any, Final

from bench.gas.chain import HARDFORK
from bench.gas.measure import Measured, measure
from bench.peers import Peer, load_peers
from bench.report import BenchError, build_result, build_row, write_result
from serving.process.command_line import command

REFERENCES: Final[tuple[str, ...]] = ("OpenZeppelin", "solady", "solmate")

CIRCLE: Final = "USDC"

DEPOSIT_FACTOR: Final = 1.68

AIMS: Final = {
    "createVault": 150_000,
    "harvest": 120_548,
    "hold": 37_947,
    "settle": 45_700,
    "hold_of_100": 16_000,
    "settle_of_100": 16_000,
    "bumpKeyEpoch": 30_647,
}
"""Of ``deposit`` the aim is ``DEPOSIT_FACTOR`` times a direct one, measured in the same run."""

LABELS: Final = {
    "createVault": "createVault, new owner",
    "deposit": "deposit, again",
    "harvest": "harvest, again",
    "withdrawPrincipal": "withdrawPrincipal, a part",
    "hold": "hold, one position",
    "settle": "settle, one position",
    "settle_new_word": "  with the first batch id of 256",
    "hold_of_100": "hold, each of 100",
    "hold_of_100_new_day": "  at the first touch of a day",
    "settle_of_100": "settle, each of 100",
    "bumpKeyEpoch": "bumpKeyEpoch",
    "withdrawUnspentYield": "withdrawUnspentYield",
}


def load_references() -> tuple[dict[str, Any], dict[str, Peer], dict[str, str]]:
    """Return the compiler's settings, the peers, and the ones that are missing with the reason."""
    names = (*REFERENCES, CIRCLE)
    try:
        peers = load_peers()
    except BenchError as error:
        return {}, {}, dict.fromkeys(names, str(error))
    found = {name: peers.found[name] for name in names if name in peers.found}
    skipped = {name: peers.failures[name] for name in names if name in peers.failures}
    return peers.settings, found, skipped


def build_aims(measured: Measured) -> dict[str, int]:
    """Return the aims of the design's table, the deposit's from this run."""
    direct = measured.direct[measured.vault]["deposit"]
    return {**AIMS, "deposit": int(DEPOSIT_FACTOR * direct)}


def build_report(
    measured: Measured, *, settings: dict[str, Any], skipped: dict[str, str]
) -> dict[str, Any]:
    """Build what is written to ``bench/results/gas.json``."""
    aims = build_aims(measured)
    rows: list[dict[str, Any]] = []
    for name in LABELS:
        aim = {"aim": aims[name]} if name in aims else {}
        rows.append(build_row(name, measured.ours[name], "gas", by="current", **aim))
        rows.append(build_row(name, measured.mocked[name], "gas", by="current over the mock"))
    rows += [build_row("mint", gas, "gas", by=peer) for peer, gas in measured.mint.items()]
    for how, figures in (("direct", measured.direct), ("adapter", measured.through)):
        rows += [
            build_row(name, value, "gas", by=how, vault=vault)
            for vault, gas in figures.items()
            for name, value in gas.items()
        ]
    ratios = {name: round(measured.ours[name] / aims[name], 4) for name in LABELS if name in aims}
    return build_result(
        rows, ratios, skipped, settings={**settings, "hardfork": HARDFORK, "vault": measured.vault}
    )


def print_tables(measured: Measured) -> None:
    """Print ours beside the aims, then the references."""
    aims = build_aims(measured)
    heads = f"{'gas':>10}{'mocked':>10}{'aim':>10}{'ours ÷ aim':>13}"
    print(f"\n{f'ours, on the {measured.vault} vault':36}{heads}")
    for name, label in LABELS.items():
        line = f"{label:36}{measured.ours[name]:>10,}{measured.mocked[name]:>10,}"
        if name in aims:
            ratio = measured.ours[name] / aims[name]
            line += f"{aims[name]:>10,}{ratio:>13.3f}{'' if ratio <= 1 else '  above its aim'}"
        print(line)

    vaults = list(measured.direct)
    print(f"\n{'references':36}" + "".join(f"{name:>14}" for name in vaults))
    lines: dict[str, list[int | None]] = {
        "ERC-721 mint, new owner": [measured.mint.get(name) for name in vaults],
        "deposit directly, again": [measured.direct[name]["deposit"] for name in vaults],
        "deposit through the adapter": [measured.through[name]["deposit"] for name in vaults],
        "withdraw directly": [measured.direct[name]["withdraw"] for name in vaults],
        "withdrawPrincipal": [measured.through[name]["withdrawPrincipal"] for name in vaults],
        "harvest": [measured.through[name]["harvest"] for name in vaults],
        "createVault": [measured.through[name]["createVault"] for name in vaults],
    }
    for label, values in lines.items():
        cells = "".join(f"{'-' if gas is None else f'{gas:,}':>14}" for gas in values)
        print(f"{label:36}{cells}")
        if label == "deposit through the adapter":
            factors = [
                measured.through[name]["deposit"] / measured.direct[name]["deposit"]
                for name in vaults
            ]
            cells = "".join(f"{factor:>14.2f}" for factor in factors)
            print(f"{'  times a direct one':36}{cells}")


@command("gas", help=__doc__)
def main() -> None:
    """Measure, print, write."""
    settings, peers, skipped = load_references()
    versions = ", ".join(f"{name} {peer.version}" for name, peer in peers.items())
    if peers:
        print(f"bench: {versions}; solc {settings['solc']}, {settings['optimizer_runs']} runs")
    circle = peers.pop(CIRCLE, None)
    measured = measure(peers, circle)
    settings = {
        **settings,
        "peers": {name: peer.version for name, peer in peers.items()},
        "usdc": "the mock" if circle is None else f"Circle's, {circle.version}",
    }
    report = build_report(measured, settings=settings, skipped=skipped)
    print_tables(measured)
    write_result("gas", report)


if __name__ == "__main__":
    main(prog_name="python -m bench.gas.main")
