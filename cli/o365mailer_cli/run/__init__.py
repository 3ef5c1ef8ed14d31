"""`o365mailer run`: the relay without Kubernetes.

`o365mailer run -f mailer.yaml` does the controller's work for one mailer on this machine. `mailer_file` reads the
document, and `object_source` what it names. `keeper` gets tokens from Entra and keeps the mailer directory (`swap`)
fresh.
`relay` runs the relay as a process, and `progress` shows the user what happens.
"""
