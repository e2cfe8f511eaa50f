"""What an operator sees of the whole deployment, read-only."""
