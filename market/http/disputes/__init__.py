"""Disputes of buyers, and re-tests that sellers ask for."""
