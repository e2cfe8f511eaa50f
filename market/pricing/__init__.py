"""What a request may cost, what models cost elsewhere, what media are sold by."""
