"""What everybody may see of the deployment: contracts, vault, and that the books add up."""
