"""The archive: usage that is settled for good, in files outside of the ledger.

::

    FOLDER/2026-09-30/0x….json.gz         a batch's usage, by the UTC day that planned the batch
    FOLDER/2026-09-30/voided-….json.gz    usage that was never charged
    FOLDER/index.sqlite3                  which file has which request; made again from the files

A file is whole or absent: it is written beside its name, synced, read back and compared, and only
then renamed. Its first line states the SHA-256 of what follows. A batch's file needs nothing but
itself and the chain: it has the leaves' figures, and their root is in ``BatchSettled``.
"""

import contextlib
import gzip
import hashlib
import os
import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import orjson

from contracts.errors import Fatal
from ledger.spending.batch_receipts import receipt_of
from ledger.spending.receipt_building import build_settlement, build_view
from ledger.spending.receipts import Receipt, build_root

FORMAT: Final = "current usage archive 1"
INDEX: Final = "index.sqlite3"
SUFFIX: Final = ".json.gz"


class ArchiveDamaged(Fatal):
    """An archive's file is not what was written; the message names the file."""


@dataclass(frozen=True, slots=True)
class Archived:
    """What one file holds: usage rows with all their columns, and the batch that charged them."""

    day: str
    """The folder, as YYYY-MM-DD."""
    rows: Sequence[Mapping[str, Any]]
    """In the order of the request ids, which is the order of a batch's Merkle tree."""
    batch: Mapping[str, Any] | None
    """batch_id, receipts_root, settled_block, settled_tx_hash; None: the usage was voided."""

    @property
    def body(self) -> bytes:
        return orjson.dumps({"batch": self.batch, "usage": [dict(row) for row in self.rows]})

    @property
    def name(self) -> str:
        """The file's name within the folder. The same content has the same name."""
        if self.batch is not None:
            return f"{self.day}/{self.batch['batch_id']}{SUFFIX}"
        return f"{self.day}/voided-{hash_body(self.body)[:32]}{SUFFIX}"

    def receipts(self) -> list[Receipt]:
        """Return the batch's receipts, in the order of its tree."""
        return [receipt_of(row) for row in self.rows]

    def check(self) -> None:
        """Check that the rows make the root that the chain has. Raises ``ArchiveDamaged``."""
        if self.batch is None:
            return
        root = "0x" + build_root([receipt.leaf() for receipt in self.receipts()]).hex()
        if root != self.batch["receipts_root"]:
            raise ArchiveDamaged(
                f"{self.name}: its receipts make the root {root}, not {self.batch['receipts_root']}"
            )


def name_day(at_s: int) -> str:
    """Return a time's UTC day as YYYY-MM-DD."""
    return datetime.fromtimestamp(at_s, UTC).date().isoformat()


def hash_body(body: bytes) -> str:
    """Return a content's SHA-256 in hex, as the file and the ledger state it."""
    return hashlib.sha256(body).hexdigest()


def encode(archived: Archived) -> bytes:
    """Return a file's bytes; the same content gives the same bytes."""
    body = archived.body
    head = orjson.dumps({"format": FORMAT, "sha256": hash_body(body)})
    return gzip.compress(head + b"\n" + body, mtime=0)


def decode(name: str, data: bytes) -> Archived:
    """Return what a file holds. Raises ``ArchiveDamaged``."""
    try:
        head, _, body = gzip.decompress(data).partition(b"\n")
        told = orjson.loads(head)
        if told["format"] != FORMAT:
            raise ArchiveDamaged(f"{name}: this version reads no {told['format']!r}")
        if told["sha256"] != hash_body(body):
            raise ArchiveDamaged(f"{name}: its content is not what its checksum says")
        content = orjson.loads(body)
        return Archived(name.partition("/")[0], content["usage"], content["batch"])
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise ArchiveDamaged(f"{name} cannot be read: {type(error).__name__}") from error


class ArchiveFolder:
    """A folder of archived usage. Reading needs no lock; one command at a time writes."""

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()  # a URI of the index needs it

    def save(self, archived: Archived, at_step: Callable[[str], None] = lambda _: None) -> str:
        """Write a file, unless it is there; return the SHA-256 of its content.

        ``at_step`` hears of each step that is done. Raises ``ArchiveDamaged`` where the written
        file does not read back, or one of this name holds something else, and ``OSError``.
        """
        archived.check()
        target = self._path / archived.name
        data = encode(archived)
        for folder in (self._path, target.parent):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not target.exists():
            draft = target.with_name(f".{target.name}.draft")
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            at_step("drafted")
            if draft.read_bytes() != data:
                raise ArchiveDamaged(f"{draft} does not read back as it was written")
            draft.rename(target)
            at_step("named")
        for folder in (target.parent, self._path):
            _sync(folder)
        kept = self.load(archived.name)
        kept.check()
        if kept.body != archived.body:
            raise ArchiveDamaged(f"{target} holds something else than the ledger has of its batch")
        _write_index(self._path / INDEX, _list_places(archived))
        at_step("indexed")
        return hash_body(archived.body)

    def load(self, name: str) -> Archived:
        """Return what a file holds. Raises ``ArchiveDamaged``."""
        try:
            data = (self._path / name).read_bytes()
        except OSError as error:
            raise ArchiveDamaged(f"{name} cannot be read: {error.strerror}") from error
        return decode(name, data)

    def list_names(self) -> list[str]:
        """Return the files' names, the oldest day first."""
        found = self._path.glob(f"????-??-??/*{SUFFIX}")
        return sorted(f"{path.parent.name}/{path.name}" for path in found)

    def find(self, request_id: str) -> tuple[Mapping[str, Any], Archived] | None:
        """Return a request's row and the file that has it; None for a request that is not here.

        Raises ``ArchiveDamaged``.
        """
        index = self._path / INDEX
        if not index.exists():
            return None
        try:
            with contextlib.closing(self._open_index()) as read:
                query = "SELECT file FROM archived WHERE request_id = ?"
                found = read.execute(query, (request_id,)).fetchone()
        except sqlite3.Error as error:
            raise ArchiveDamaged(f"{index}: {error}; `current ledger check-archive`") from error
        if found is None:
            return None
        archived = self.load(found[0])
        for row in archived.rows:
            if row["request_id"] == request_id:
                return row, archived
        raise ArchiveDamaged(f"{found[0]} has no request {request_id}, which the index says it has")

    def check(self) -> Iterator[Archived]:
        """Read every file, check it, and make the index again; to be read to the end.

        The old index serves until the new one is whole. What it says of damaged files stays, so
        that who asks for their requests is told. Raises ``ArchiveDamaged`` at the end, naming all.
        """
        draft = self._path / f"{INDEX}.new"
        draft.unlink(missing_ok=True)
        damaged: dict[str, str] = {}
        for name in self.list_names():
            try:
                archived = self.load(name)
                archived.check()
            except ArchiveDamaged as error:
                damaged[name] = str(error)
                continue
            _write_index(draft, _list_places(archived))
            yield archived
        if self._path.is_dir():
            _write_index(draft, self._find_places(damaged))
            # Of an old index that was being written when its process died; the new one needs none.
            (self._path / f"{INDEX}-journal").unlink(missing_ok=True)
            draft.rename(self._path / INDEX)
            _sync(self._path)
        if damaged:
            raise ArchiveDamaged("; ".join(damaged.values()))

    def _find_places(self, names: Collection[str]) -> list[tuple[str, str]]:
        """Return what the index has of these files, as far as it can be read."""
        try:
            with contextlib.closing(self._open_index()) as read:
                rows = read.execute("SELECT request_id, file FROM archived").fetchall()
        except sqlite3.Error:
            return []
        return [(request_id, file) for request_id, file in rows if file in names]

    def _open_index(self) -> sqlite3.Connection:
        return sqlite3.connect(f"{(self._path / INDEX).as_uri()}?mode=ro", uri=True)

    def load_receipt(self, request_id: str) -> dict[str, Any] | None:
        """Return the receipt of an archived request, with its proof where it was charged.

        None for a request that is not here. Raises ``ArchiveDamaged``.
        """
        found = self.find(request_id)
        if found is None:
            return None
        row, archived = found
        if archived.batch is None:
            return build_view(row, None)
        receipts = archived.receipts()
        settlement = build_settlement(request_id, archived.batch, receipts, state="settled")
        return build_view(row, settlement)


def _list_places(archived: Archived) -> list[tuple[str, str]]:
    return [(row["request_id"], archived.name) for row in archived.rows]


def _write_index(index: Path, places: Sequence[tuple[str, str]]) -> None:
    """Write which file has which request."""
    with contextlib.closing(sqlite3.connect(index, timeout=60)) as connection:
        connection.execute("PRAGMA synchronous = FULL")
        with connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS archived"
                " (request_id TEXT PRIMARY KEY, file TEXT NOT NULL) WITHOUT ROWID"
            )
            connection.executemany("INSERT OR REPLACE INTO archived VALUES (?, ?)", places)
    index.chmod(0o600)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
