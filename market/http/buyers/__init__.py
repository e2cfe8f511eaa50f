"""A buyer's account: prepaid credit and how it is topped up."""
