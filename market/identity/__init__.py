"""Who is asking: sign-ins by wallet, and the keys that they give."""
