"""What a seller earned and failed."""
