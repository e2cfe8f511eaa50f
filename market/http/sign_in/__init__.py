"""Signing in with a wallet, and the keys that it gives."""
