"""The pages: what they load, how soon they are there, and what serving them costs."""
