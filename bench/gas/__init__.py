"""Gas of our contracts beside OpenZeppelin, solady and solmate."""
