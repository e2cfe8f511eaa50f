"""Build the one wheel that an operator installs: ``python -m scripts.build_wheel [FOLDER]``.

It holds the ABI, the migrations, both sites' pages, docs and price data beside the code, so that
every command runs from it without Node, make or a clone. The sources are copied to a folder of
their own first: what an earlier build left behind would find its way into the wheel.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import click

from contracts.errors import Fatal
from serving.process.command_line import argument, command
from serving.process.exit_codes import ExitCode

ROOT: Final = Path(__file__).resolve().parent.parent
ROOMS: Final = (
    "contracts",
    "indexer",
    "keeper",
    "ledger",
    "market",
    "proxy",
    "scripts",
    "serving",
)
FILES: Final = ("pyproject.toml", "README.md", "LICENSE")
PAGES: Final = ("proxy/site/index.html", "market/site/index.html")


class WheelNotBuilt(Fatal):
    """The wheel could not be built; the message says why."""


def build_wheel(folder: Path) -> Path:
    """Build the wheel into ``folder`` and return its path. Raises ``WheelNotBuilt``."""
    missing = [page for page in PAGES if not (ROOT / page).is_file()]
    if missing:
        raise WheelNotBuilt(f"the pages are not built ({', '.join(missing)}): run `make setup`")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="current-wheel-") as name:
        sources, made = Path(name) / "sources", Path(name) / "made"
        sources.mkdir()
        for room in ROOMS:
            ignore = shutil.ignore_patterns("__pycache__", ".stamp", "node_modules")
            shutil.copytree(ROOT / room, sources / room, ignore=ignore)
        texts = sources / "serving" / "docs"
        texts.mkdir()
        for page in sorted((ROOT / "docs").glob("*.md")):
            shutil.copyfile(page, texts / page.name)
        for file in FILES:
            shutil.copyfile(ROOT / file, sources / file)
        # Nothing is fetched: the setuptools of the environment builds it.
        arguments = ["wheel", "--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
        done = subprocess.run(
            [sys.executable, "-m", "pip", *arguments, "--wheel-dir", str(made), str(sources)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise WheelNotBuilt(f"pip wheel failed: {done.stderr.strip()[-2_000:]}")
        (built,) = made.glob("*.whl")
        path = folder / built.name
        shutil.copyfile(built, path)
        path.chmod(0o644)
    return path


@command("build_wheel", help=__doc__)
@argument(
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=ROOT / "dist",
    help="Where to put it; dist/ unless named.",
)
def main(folder: Path) -> ExitCode:
    """Build the wheel and print where it is."""
    click.echo(build_wheel(folder))
    return ExitCode.DONE


if __name__ == "__main__":
    main(prog_name="python -m scripts.build_wheel")
