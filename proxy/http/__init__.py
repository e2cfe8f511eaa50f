"""The proxy's HTTP: the front, the routes, and what they ask the framework for."""
