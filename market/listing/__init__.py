"""Offers as sellers write them, and what the public sees of the market."""
