"""What everybody may see: models, prices, markets, events."""
