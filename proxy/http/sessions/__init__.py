"""Signing in with a wallet in a browser."""
