"""Choosing the seller that serves a request, and trying the next one after a failure."""
