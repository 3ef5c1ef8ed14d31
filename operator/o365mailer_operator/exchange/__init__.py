"""Whether Exchange Online lets an application log in as a mailbox: the login is tried, and a failure gets its causes.

`login.py` tries, `result.py` has the types, `certificate.py` says who signed a host's certificate, and `causes.py`
names the likely causes of a failure with the commands that fix them.
"""
