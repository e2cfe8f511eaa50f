"""Build the documents as a site, strictly: ``python -m scripts.build_docs [FOLDER]``.

Every page of ``docs/`` must be in the navigation, and every link and anchor must lead somewhere, or
nothing is built. Beside them stand references of both servers, made from their OpenAPI documents.
The tools are installed from ``manual/requirements.lock`` into an environment of their own, when it
has changed. The site loads nothing from elsewhere.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import click

from contracts.errors import Fatal
from scripts.api_reference import render_reference
from scripts.export_openapi import build_documents
from scripts.setup import SetupError, Stage, only_one, run_visibly, say
from scripts.stack.anvil_path import ROOT
from serving.process.command_line import argument, command

MANUAL: Final = ROOT / "manual"
LOCK: Final = MANUAL / "requirements.lock"
VENV: Final = ROOT / ".cache" / "manual"
REFERENCES: Final = {
    "proxy": ("Every route of the proxy", "`/openapi.json`"),
    "market": ("Every route of the market", "`/openapi.json`"),
}
"""Title of each server's generated page, and where the server has its document."""


class DocsNotBuilt(Fatal):
    """The site could not be built; the message says why."""


def build_docs(folder: Path) -> None:
    """Write the site into ``folder``, which is emptied. Raises ``DocsNotBuilt``."""
    try:
        _install()
    except (SetupError, OSError) as error:
        raise DocsNotBuilt(str(error)) from error
    with tempfile.TemporaryDirectory(prefix="current-docs-") as name:
        _build(_gather(Path(name)), folder.resolve())


def _gather(place: Path) -> Path:
    """Put the pages, written and generated, beside the site's settings; return their folder."""
    for one in (MANUAL, MANUAL.parent / "docs"):
        shutil.copytree(one, place / one.name, ignore=shutil.ignore_patterns("__pycache__"))
    reference = place / "docs" / "reference"
    reference.mkdir()
    for server, document in build_documents().items():
        title, served_at = REFERENCES[server]
        page = render_reference(document, title=title, served_at=served_at)
        (reference / f"{server}.md").write_text(page, encoding="utf-8")
    return place / MANUAL.name


def _build(manual: Path, folder: Path) -> None:
    # Not `--quiet`: with it MkDocs does not count the warnings that fail a strict build.
    words = ["build", "--strict", "--clean", "-f", str(manual / "mkdocs.yml")]
    done = subprocess.run(
        [str(VENV / "bin" / "mkdocs"), *words, "-d", str(folder)],
        cwd=manual,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise DocsNotBuilt(f"mkdocs: {(done.stderr + done.stdout).strip()[-4_000:]}")


def _install() -> None:
    stage = Stage(stamp=VENV / ".stamp", inputs=[LOCK], run=_make_environment)
    if stage.is_done():
        return
    with only_one() as lock_fd:
        if not stage.is_done():
            fingerprint = stage.fingerprint()
            stage.run(lock_fd)
            stage.finish(fingerprint)


def _make_environment(lock_fd: int) -> None:
    shutil.rmtree(VENV, ignore_errors=True)
    say("installing manual/requirements.lock into an environment of its own")
    failure = "the tools of the site could not be installed"
    venv = [sys.executable, "-m", "venv", str(VENV)]
    run_visibly(venv, lock_fd=lock_fd, failure=failure, usual="10 seconds")
    pip = [str(VENV / "bin" / "python"), "-m", "pip", "install", "--no-input", "--no-deps"]
    run_visibly(
        [*pip, "--require-hashes", "-r", str(LOCK)],
        lock_fd=lock_fd,
        failure=failure,
        usual="20 seconds",
        env={"PIP_DISABLE_PIP_VERSION_CHECK": "1"},
    )


@command("build_docs", help=__doc__)
@argument(
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=ROOT / "dist" / "docs",
    help="Where to put the site; dist/docs unless named.",
)
def main(folder: Path) -> None:
    """Build the site and say where it is."""
    build_docs(folder)
    click.echo(f"{folder}: look at it by `python -m http.server -d {folder}`")


if __name__ == "__main__":
    main(prog_name="python -m scripts.build_docs")
