"""API keys: who may have one, what it says, and whether it still holds."""
