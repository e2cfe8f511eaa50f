"""Undoing what somebody else did to an account, by the link of a mail."""
