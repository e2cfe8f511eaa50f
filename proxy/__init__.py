"""Buyers' HTTP: keys, catalogue, chat completions, receipts."""
