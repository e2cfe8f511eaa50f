"""Unused credit that wallets take back."""
