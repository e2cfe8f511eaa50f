"""Ledger to chain: the only process with a private key."""
