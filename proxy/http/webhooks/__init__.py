"""Webhooks: set with a root key, tried, rotated, replayed."""
