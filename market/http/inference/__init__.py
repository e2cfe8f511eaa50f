"""The buyers' calls for text."""
