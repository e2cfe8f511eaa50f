"""What requests spend of a position: the meter, keys, batches, receipts, bad debts."""
