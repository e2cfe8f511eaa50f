"""Write the ABI of every deployed contract to ``contracts/abi``, or check that it is fresh.

``code.json`` there tells our own contracts' code: length in bytes and digest, without what a
deployment appends to it (Vyper keeps immutables behind the code).

``python -m scripts.export_abi`` writes them, ``--check`` exits 1 where they are stale.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from eth_utils.crypto import keccak

from serving.process.command_line import command
from serving.process.exit_codes import ExitCode

ROOT = Path(__file__).resolve().parent.parent
SOURCES = (
    "YieldFundedPosition.vy",
    "LendingYieldAdapter.vy",
    "Payouts.vy",
    "mocks/MockUSDC.vy",
    "mocks/MockVault.vy",
    "mocks/Multicall3.vy",
)
EVM_VERSION = "cancun"
"""As ``ape-config.yaml`` has it for what is deployed."""


def build_abis(root: Path = ROOT) -> dict[Path, str]:
    """Compile the sources and return the text of each ABI file, by its path.

    Entries are sorted by kind, name and number of arguments, so that moving a function within a
    source changes nothing.
    """
    # The compiler is slow to import, and help needs none.
    from vyper.cli.vyper_compile import compile_files
    from vyper.compiler.settings import Settings

    sources = [root / "contracts" / source for source in SOURCES]
    compiled = compile_files(
        sources,
        output_formats=("abi", "devdoc", "bytecode_runtime"),
        paths=[str(root)],
        settings=Settings(evm_version=EVM_VERSION),
    )
    digests = {
        path.stem: digest_code(bytes.fromhex(output["bytecode_runtime"].removeprefix("0x")))
        for path, output in zip(sources, compiled.values(), strict=True)
        if path.parent.name == "contracts"
    }
    return {
        root / "contracts" / "abi" / "code.json": json.dumps(digests, indent=2) + "\n",
    } | {
        root / "contracts" / "abi" / f"{path.stem}.json": _render(
            name_outputs(output["abi"], output["devdoc"])
        )
        for path, output in zip(sources, compiled.values(), strict=True)
    }


def digest_code(code: bytes) -> dict[str, int | str]:
    """Return what tells a contract's code: its length in bytes and its Keccak-256 (0x hex)."""
    return {"bytes": len(code), "keccak": "0x" + keccak(code).hex()}


def name_outputs(abi: list[dict[str, Any]], devdoc: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the ABI with a name for every output.

    Vyper names the fields of a struct, and no output itself. The name is the first word of the
    function's ``@return`` in ``devdoc``, the compiler's reading of the NatSpec; a function without
    ``@return`` gives its own name to its output.
    """
    methods: dict[str, dict[str, Any]] = devdoc.get("methods", {})
    named = {
        signature.partition("(")[0]: text.split()[0]
        for signature, found in methods.items()
        for text in found.get("returns", {}).values()
    }
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


@command("export_abi", help=__doc__, is_check=True)
@click.option("--check", is_flag=True, help="Change nothing; exit 1 where a file is stale.")
def main(check: bool) -> ExitCode:
    """Write or check every file."""
    abis = build_abis()
    stale = find_stale(abis)
    for path in stale:
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(abis[path])
        click.echo(f"{'stale' if check else 'written'}: {path.relative_to(ROOT)}")
    return ExitCode.FAILED if check and stale else ExitCode.DONE


if __name__ == "__main__":
    main(prog_name="python -m scripts.export_abi")
