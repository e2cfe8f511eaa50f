"""Carrying intents out: the one owner of the sender's nonce.

Every step is written to the ledger before it is taken, so that a crash between any two leaves an
intent that says what to look for. An outcome is found on chain; nothing is ever sent a second time
under another id. While a sent transaction is in no block, nothing new is sent.

FENCING. Another keeper takes over when ours loses its lock, perhaps in the middle of a step. So the
lock is looked at right before each signature and each sending. Between that look and the sending
time passes, and a process may sleep there for an hour; what it sends then is harmless, because it
only ever sends what is stored. The keeper that stores first has the nonce (a unique index) and the
intent (a state that is left once), so all keepers send the same bytes, or replacements of the same
nonce, and the chain takes one of them.
"""
