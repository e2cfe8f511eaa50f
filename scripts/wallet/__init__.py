"""Positions and keys at the command line, for people who script."""
