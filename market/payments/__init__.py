"""Payment by x402: terms, signed payments, waiting until they are settled."""
