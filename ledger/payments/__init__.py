"""Payments by signed authorization: written down, claimed for a request, brought to their end."""
