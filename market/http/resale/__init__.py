"""Resold APIs over HTTP: calls, connections, the catalogue."""
