"""What the market sells, for whom, and what it owes its sellers."""
