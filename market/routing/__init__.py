"""Which seller serves a request, and trying one after the other."""
