"""Routing decisions, and what the market adds to a request."""
