"""Where a supplier is paid."""
