"""`o365mailer check`: what is wrong with mail in a cluster, why, and what to do about it.

`cluster.py` and `login.py` read and ask; what they find out is judged by pure modules, one a group of findings.
"""
