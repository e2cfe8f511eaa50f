"""The database itself: opening it, writing to it in groups, locks, roles, the schema."""
