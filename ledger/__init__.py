"""The SQL store, and every function that moves money in it, one transaction each."""
