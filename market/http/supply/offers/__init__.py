"""A supplier's offers."""
