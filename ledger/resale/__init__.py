"""Unused quota of APIs, sold by the call: connections, periods of quota, calls."""
