"""``python -m indexer`` is ``current indexer``."""

from indexer.commands import indexer

indexer()
