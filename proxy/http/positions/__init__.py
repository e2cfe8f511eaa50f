"""What anybody may see of a position."""
