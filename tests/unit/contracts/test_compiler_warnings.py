"""The compiler has nothing to warn of in any contract, mocks and modules included.

Compiling all of them takes seconds, so the answer is kept in ``.cache/`` by the sources' content.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Final

import pytest

from scripts.stack.anvil_path import ROOT

OUTDATED: Final = """
# pragma version 0.4.3
@external
@pure
def double(x: uint256) -> uint256:
    return shift(x, 1)
"""


@pytest.mark.slow
def test_compiler_warnings__every_contract__none() -> None:
    assert remember_warnings() == []


def test_compiler_warnings__outdated_builtin__is_seen(tmp_path: Path) -> None:
    source = tmp_path / "outdated.vy"
    source.write_text(OUTDATED)

    (found,) = find_warnings([source])

    assert "outdated.vy" in found
    assert "`shift()` is deprecated" in found


def remember_warnings() -> list[str]:
    """Return the warnings about our contracts; compile them only when something has changed."""
    digest = hashlib.sha256(version("vyper").encode() + version("snekmate").encode())
    for source in sorted((ROOT / "contracts").rglob("*.vy*")):
        digest.update(source.relative_to(ROOT).as_posix().encode() + source.read_bytes())
    cached = ROOT / ".cache" / f"compiler-warnings-{digest.hexdigest()[:24]}.json"
    if not cached.exists():
        cached.parent.mkdir(exist_ok=True)
        # Whole or not at all: test processes run side by side.
        draft = cached.with_suffix(f".{os.getpid()}.draft")
        draft.write_text(json.dumps(find_warnings(sorted((ROOT / "contracts").rglob("*.vy")))))
        draft.replace(cached)
    remembered: list[str] = json.loads(cached.read_text())
    return remembered


def find_warnings(sources: Iterable[Path]) -> list[str]:
    """Return what the compiler warns of, each warning with the name of its file."""
    # Imported here: the compiler takes a second to load, the answer is nearly always there.
    from vyper.cli.vyper_compile import compile_files
    from vyper.compiler.settings import Settings

    found = []
    for source in sources:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            compile_files(
                [str(source)],
                # The size limit (EIP-170) is checked on the runtime code only.
                output_formats=("bytecode", "bytecode_runtime"),
                paths=[str(ROOT)],
                settings=Settings(evm_version="cancun"),
            )
        found += [f"{source.name}: {warning.message}" for warning in caught]
    return found
