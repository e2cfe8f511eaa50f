"""The chain: Vyper sources, and the Python modules that are the only place that talks to them."""
