"""Hostile input, made from a seed: SMTP sessions against a model of them, and the documents of a mailer directory.

`make fuzz` runs a million inputs; `make test` a share. An input is one command, message or document.
"""
