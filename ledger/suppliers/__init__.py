"""Suppliers: accounts, what they say of themselves and what is decided of it, mail."""
