"""A buyer's own providers."""
