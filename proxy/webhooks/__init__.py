"""What owners are told of their positions."""
