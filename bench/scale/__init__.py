"""Several proxies and markets on one full PostgreSQL ledger."""
