"""Chain to ledger: a reorg-safe mirror of the contracts' events."""
