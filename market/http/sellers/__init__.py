"""A seller's account: what was agreed with it."""
