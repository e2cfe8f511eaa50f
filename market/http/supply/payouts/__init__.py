"""What a supplier sold, and what it was paid."""
