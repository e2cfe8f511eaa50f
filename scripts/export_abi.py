"""Write the ABI of every deployed contract to ``contracts/abi``, or check that it is fresh.

``python -m scripts.export_abi``           write
``python -m scripts.export_abi --check``   change nothing; exit with 1 when a file is stale
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vyper.cli.vyper_compile import compile_files

ROOT = Path(__file__).resolve().parent.parent
SOURCES = (
    "YieldFundedPosition.vy",
    "LendingYieldAdapter.vy",
    "Payouts.vy",
    "mocks/MockUSDC.vy",
    "mocks/MockVault.vy",
    "mocks/Multicall3.vy",
)


def build_abis(root: Path = ROOT) -> dict[Path, str]:
    """Compile the sources and return the text of each ABI file, by its path.

    Entries are sorted by kind, name and number of arguments, so that moving a function within a
    source changes nothing.
    """
    sources = [root / "contracts" / source for source in SOURCES]
    compiled = compile_files(sources, output_formats=("abi",), paths=[str(root)])
    return {
        root / "contracts" / "abi" / f"{path.stem}.json": _render(
            name_outputs(output["abi"], path.read_text())
        )
        for path, output in zip(sources, compiled.values(), strict=True)
    }


def name_outputs(abi: list[dict[str, Any]], source: str) -> list[dict[str, Any]]:
    """Return the ABI with a name for every output.

    Vyper names the fields of a struct, and no output itself. The name is the first word of the
    function's ``@return`` in ``source``; a view that has none there is called as its answer is.
    """
    named = dict(
        re.findall(r'^def (\w+)(?:(?!^def)[^"])*"""[^"]*?@return ([a-z]\w*) ', source, re.M)
    )
    return [
        {**entry, "outputs": [_named(o, named, entry["name"]) for o in entry["outputs"]]}
        if entry.get("outputs")
        else entry
        for entry in abi
    ]


def _named(output: dict[str, Any], named: dict[str, str], function: str) -> dict[str, Any]:
    return {**output, "name": output["name"] or named.get(function, function)}


def _render(abi: list[dict[str, Any]]) -> str:
    entries = sorted(abi, key=lambda e: (e["type"], e.get("name", ""), len(e.get("inputs", []))))
    return json.dumps(entries, indent=2) + "\n"


def find_stale(abis: dict[Path, str]) -> list[Path]:
    """Return the files whose content is not the one given, missing ones included."""
    return [path for path, text in abis.items() if not path.exists() or path.read_text() != text]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; see the module."""
    parser = argparse.ArgumentParser(description="Export the ABI of every deployed contract.")
    parser.add_argument("--check", action="store_true", help="change nothing; fail when stale")
    options = parser.parse_args(arguments)

    abis = build_abis()
    stale = find_stale(abis)
    verb = "stale" if options.check else "written"
    for path in stale:
        if not options.check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(abis[path])
        sys.stdout.write(f"{verb}: {path.relative_to(ROOT)}\n")
    return 1 if options.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
