"""What the market reads from the ledger."""
