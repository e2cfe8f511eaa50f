"""What the keeper does on chain, a file a duty, and the registry that lists them."""
