"""A chat completion, from parsed key to charged answer."""
