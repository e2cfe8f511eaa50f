"""Where a supplier is paid, what it sold, and what it was paid."""
