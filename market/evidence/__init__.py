"""The lab: whether an offer sells what it names, by tests that may be looked at at any time."""
