"""Chat completions, and what one would cost."""
