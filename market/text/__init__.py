"""A request for text, from parsed body to charged answer."""
