"""Suppliers over HTTP, below /v1/supply, and their reviewers, below /v1/review."""
