"""Submission to Exchange: when to ask, over which connection, and what the replies mean."""
