"""A supplier's API keys."""
