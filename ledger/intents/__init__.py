"""What the keeper means to send, and what it leaves alone after failures."""
