"""The peers' locks: every download has its hash, and none says where it comes from."""

import json
import re
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[3] / "bench"
NPM_LOCKS = [BENCH / "package-lock.json", *sorted(BENCH.glob("*/package-lock.json"))]


@pytest.mark.parametrize("lock", NPM_LOCKS, ids=lambda path: path.parent.name)
def test_npm_lock__packages__have_hashes_and_no_address(lock: Path) -> None:
    packages = json.loads(lock.read_text())["packages"]

    packages.pop("")
    assert packages
    assert all("integrity" in package for package in packages.values())
    assert not any("resolved" in package for package in packages.values())
    assert str(Path.home()) not in lock.read_text()


def test_npm_lock__ponders__names_the_platform_packages_that_its_bundler_needs() -> None:
    packages = json.loads((BENCH / "indexer" / "package-lock.json").read_text())["packages"]

    for system in ("linux-x64-gnu", "linux-arm64-gnu", "darwin-arm64"):
        assert f"node_modules/@rollup/rollup-{system}" in packages


def test_litellm_lock__packages__are_pinned_with_hashes_and_no_address() -> None:
    text = (BENCH / "proxy" / "litellm.lock").read_text()
    entries = re.split(r"^(?=[a-z0-9])", re.sub(r"^ *#.*\n", "", text, flags=re.M), flags=re.M)
    entries = [entry for entry in entries if entry.strip()]

    assert any(entry.startswith("litellm==") for entry in entries)
    assert all(re.match(r"[a-z0-9._-]+(\[[a-z0-9,-]+\])?==\S+", entry) for entry in entries)
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in text
