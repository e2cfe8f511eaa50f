"""What the lab has found out, in public and for sellers."""
