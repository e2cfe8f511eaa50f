"""What OpenRouter's clients ask of a key: its limits and use, what is left, one request's cost."""
