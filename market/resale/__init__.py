"""Unused quota of any API, sold by the call."""
