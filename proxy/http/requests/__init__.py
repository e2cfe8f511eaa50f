"""What a caller has asked for so far: usage and receipts."""
