"""`o365mailer setup`: prints the scripts that set up Entra and Exchange for a mailer, and those that undo it.

`plan` says what a mailer needs; `powershell` and `az` write it as a script; `quoting` makes literals of its values.
Nothing is run here: an administrator reads a script before running it.
"""
