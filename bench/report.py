"""A bench's result: one JSON file with the figures, the machine and what was left out.

A peer that could not be had stands under ``skipped`` with the reason; a bench without its peers is
still a result, and its exit code is 0.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final

from contracts.errors import Retryable
from scripts.stack.anvil_path import ROOT

RESULTS: Final = ROOT / "bench" / "results"
PICTURES: Final = ROOT / "docs" / "img"


class BenchError(Retryable):
    """The bench cannot go on; the message is the sentence to print."""


def build_row(name: str, value: float, unit: str, **facts: Any) -> dict[str, Any]:
    """Return one figure as the report has it."""
    return {"name": name, "value": value, "unit": unit, **facts}


def build_result(
    rows: Sequence[Mapping[str, Any]],
    ratios: Mapping[str, float],
    skipped: Mapping[str, str],
    **facts: Any,
) -> dict[str, Any]:
    """Return a whole result: when and where it was measured, then the figures."""
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **facts,
        "rows": list(rows),
        "ratios": dict(ratios),
        "skipped": dict(skipped),
    }


def write_result(name: str, result: Mapping[str, Any], *, picture: str | None = None) -> None:
    """Write ``bench/results/<name>.json`` and ``docs/img/bench-<name>.svg``; say where they are.

    ``name`` is the bench's, ``picture`` an SVG document, or None to leave the documented one:
    a bench that ran in small only shows that it works. A file is replaced whole or not at all.
    """
    files = {RESULTS / f"{name}.json": json.dumps(result, indent=2) + "\n"}
    if picture is not None:
        files[PICTURES / f"bench-{name}.svg"] = picture
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".draft")
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    for peer, reason in result["skipped"].items():
        print(f"skipped {peer}: {reason}")
    print("\nwritten to " + " and ".join(str(path.relative_to(ROOT)) for path in files))


def work_folder(name: str) -> Path:
    """Return an empty folder under ``.cache`` for what one run writes; the caller deletes it."""
    parent = ROOT / ".cache"
    parent.mkdir(exist_ok=True)
    return Path(mkdtemp(prefix=f"bench-{name}-", dir=parent))
