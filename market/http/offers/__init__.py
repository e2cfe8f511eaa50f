"""A seller's offers, and what a provider key can serve."""
