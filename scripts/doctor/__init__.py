"""``current doctor``: everything that can be wrong, each with the line that mends it."""
