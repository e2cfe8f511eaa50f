"""The indexer beside its limit, a plain script and Ponder."""
