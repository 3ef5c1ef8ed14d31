"""`o365mailer check`: what is wrong with mail, why, and what to do about it.

`cluster.py` reads the cluster, and pure modules judge what it read, one a group of findings. `login.py` tries the
logins of mailers: those of the cluster (`cluster_login.py`) or the one in a file (`document.py`).
"""
