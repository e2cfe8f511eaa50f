"""Gas of a settled request, and the keeper's cost of many positions."""
