"""The local stack: its chain, its processes, its model, and the walk through it."""
