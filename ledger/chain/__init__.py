"""What the chain says: the mirror of its events, positions, harvests."""
