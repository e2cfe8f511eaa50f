"""Backups of a ledger: taking one, finding them, and going back to one."""
