"""Sellers' endpoints: calling them safely, the keys that they need, whether they are healthy."""
