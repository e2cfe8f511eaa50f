"""Signing in as a supplier or reviewer."""
