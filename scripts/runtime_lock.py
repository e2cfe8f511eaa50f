"""Write what the processes need at run time out of the lock: ``python -m scripts.runtime_lock``.

``requirements.lock`` pins everything that a clone installs, tests and compilers included. What an
operator's host or a container needs is what the dependencies of ``pyproject.toml`` lead to, by the
lock's own ``# via`` notes; ``build.lock`` is what builds the wheel. Versions and hashes are the
lock's: nothing is resolved again.
"""

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import click

from serving.process.command_line import command

ROOT: Final = Path(__file__).resolve().parent.parent
LOCK: Final = ROOT / "requirements.lock"
RUNTIME: Final = ROOT / "containers" / "runtime.lock"
BUILD: Final = ROOT / "containers" / "build.lock"
BUILDERS: Final = ("setuptools",)
_HEAD: Final = "# Out of requirements.lock by `make lock`; not to be edited.\n"
_NAME: Final = re.compile(r"[A-Za-z0-9._-]+")
_VIA: Final = re.compile(r"^ +#(?: via)? +(\S+)", re.M)


def read_lock(text: str) -> dict[str, str]:
    """Return the lock's entries, each with its hashes and notes, by name (and marker)."""
    entries: dict[str, str] = {}
    for block in re.split(r"^(?=[A-Za-z0-9])", text, flags=re.M)[1:]:
        entries[block.splitlines()[0]] = block
    return entries


def choose(entries: dict[str, str], roots: Iterable[str]) -> str:
    """Return the entries that ``roots`` lead to, in the lock's order."""
    wanted = {_normal(name) for name in roots}
    users = {head: {_normal(one) for one in _VIA.findall(told)} for head, told in entries.items()}
    chosen: set[str] = set()
    grows = True
    while grows:
        found = {h for h in entries if _name(h) in wanted or users[h] & wanted}
        grows = not found <= chosen
        chosen |= found
        wanted |= {_name(head) for head in chosen}
    return _HEAD + "".join(told for head, told in entries.items() if head in chosen)


def build_locks() -> dict[Path, str]:
    """Return the content of each lock that is made out of ``requirements.lock``."""
    told = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    roots = [_name(one) for one in told["project"]["dependencies"]]
    entries = read_lock(LOCK.read_text(encoding="utf-8"))
    return {RUNTIME: choose(entries, roots), BUILD: choose(entries, BUILDERS)}


def _name(entry: str) -> str:
    found = _NAME.match(entry)
    assert found is not None, entry
    return _normal(found.group())


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@command("runtime_lock", help=__doc__)
def main() -> None:
    """Write the locks."""
    for path, content in build_locks().items():
        path.write_text(content, encoding="utf-8")
        click.echo(path)


if __name__ == "__main__":
    main(prog_name="python -m scripts.runtime_lock")
