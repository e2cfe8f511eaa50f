"""Node and a Chromium for tests of the pages; without one a test is skipped with a sentence."""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from scripts.stack.anvil_path import ROOT

WEB: Final = ROOT / "web"
NO_BROWSER: Final = 77


def need_pages(server: str) -> dict[str, Any]:
    """Return what a server's ``site.json`` says; skip the test where the pages are not built."""
    described = ROOT / server / "site" / "site.json"
    if not described.exists() or not (WEB / "node_modules").exists():
        pytest.skip("the pages are not built: run `make setup`")
    found: dict[str, Any] = json.loads(described.read_text(encoding="utf-8"))
    return found


async def run_node(*arguments: str, timeout_s: float = 600.0) -> tuple[int, str, str]:
    """Run Node in ``web/``; return its exit code, its output and its errors."""
    process = await asyncio.create_subprocess_exec(
        "node",
        *arguments,
        cwd=WEB,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(timeout_s):
            output, errors = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    return process.returncode, output.decode(), errors.decode()


async def run_browser(script: str, wish: dict[str, Any]) -> Any:
    """Run a script of ``web/tests`` with a browser; return the JSON of its last line.

    Skips where no browser runs here; fails with the script's errors.
    """
    code, output, errors = await run_node(f"tests/{script}", json.dumps(wish))
    if code == NO_BROWSER:
        pytest.skip(errors.strip())
    assert code == 0, errors
    return json.loads(output.strip().splitlines()[-1])


@dataclass(frozen=True, slots=True)
class Look:
    """A page to look at: its path, and a text that it shows once it is there."""

    name: str
    path: str
    until: str
    width: int = 1280
    scheme: str = "light"


async def look_at(
    origin: str, *looks: Look, folder: Path | None = None
) -> dict[str, dict[str, Any]]:
    """Return what each page says and what is wrong with it; keep pictures in ``folder``."""
    wish = {
        "origin": origin,
        "folder": None if folder is None else str(folder),
        "looks": [
            {
                "name": look.name,
                "path": look.path,
                "until": look.until,
                "width": look.width,
                "scheme": look.scheme,
            }
            for look in looks
        ],
    }
    reports = await run_browser("look.mjs", wish)
    return {look.name: report for look, report in zip(looks, reports, strict=True)}
