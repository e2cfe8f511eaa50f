"""Settling many suppliers' days."""
