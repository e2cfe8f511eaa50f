"""Suppliers: companies that apply, are reviewed, and then sell: what stands behind the routes."""
