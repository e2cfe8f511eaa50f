"""The supply side: sellers, their offers, and the router between them and buyers."""
