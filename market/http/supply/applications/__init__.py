"""Applying, and confirming the address."""
