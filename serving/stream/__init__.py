"""Server-sent events, and live answers that are counted while they are passed on."""
