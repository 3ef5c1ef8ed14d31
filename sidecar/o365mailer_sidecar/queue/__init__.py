"""Who takes what is in the spool to Exchange, and what becomes of it."""
