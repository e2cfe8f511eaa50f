"""A seller's account: what was agreed with it, and what everybody may know of a seller."""
