"""A supplier's account: its password and one-time codes."""
