"""The way to Exchange: an authenticated connection, what is said on it, and whether it is worth asking."""
