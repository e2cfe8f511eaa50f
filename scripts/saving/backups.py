"""Backups as they lie in a folder: ``<folder>/current-<UTC time>/`` with data and manifest."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from contracts.errors import Fatal

MANIFEST: Final = "manifest.json"
PREFIX: Final = "current-"


class BackupUnreadable(Fatal):
    """The folder holds no whole backup; the message says what lacks."""


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup and what its manifest says. Amounts in 1e-6 USDC, times in Unix seconds."""

    path: Path
    taken_at_s: int
    kind: str
    """``sqlite`` or ``postgresql``."""
    data: str
    """The name of the file that holds the ledger."""
    sha256: str
    bytes: int
    schema: str
    chain_id: int
    position: str
    block_number: int | None
    """The block that was mirrored; None where nothing was."""
    posted_usdc: int
    """Usage that was charged off chain and waited for a settlement."""

    @property
    def data_path(self) -> Path:
        return self.path / self.data

    def save_manifest(self) -> None:
        """Write what ``load_backup`` reads."""
        told = {name: value for name, value in asdict(self).items() if name != "path"}
        (self.path / MANIFEST).write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


def load_backup(path: Path) -> Backup:
    """Read a backup's manifest. Raises ``BackupUnreadable``."""
    try:
        told = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        return Backup(path=path, **told)
    except (OSError, ValueError, TypeError) as error:
        raise BackupUnreadable(f"{path} is no whole backup: {type(error).__name__}") from None


def find_backups(folder: Path) -> list[Backup]:
    """Return the whole backups in a folder, the oldest first."""
    found = []
    for path in folder.glob(f"{PREFIX}*"):
        try:
            found.append(load_backup(path))
        except BackupUnreadable:
            continue
    return sorted(found, key=lambda one: one.taken_at_s)
