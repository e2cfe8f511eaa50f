"""What a supplier files of itself."""
