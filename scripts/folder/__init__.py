"""A deployment folder: what ``current init`` makes, and what the other commands read of it."""
