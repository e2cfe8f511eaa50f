"""How HTTP reaches a server, and how its answers leave."""
