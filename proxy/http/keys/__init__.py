"""Signing in for a root key, and the child keys under it."""
