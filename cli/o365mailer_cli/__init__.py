"""`o365mailer`: the relay without Kubernetes.

`o365mailer run -f mailer.yaml` is the controller's work for one mailer, done on this machine: `mailer_file` reads the
document, `secret_source` its Secrets, `keeper` asks Entra and keeps the mailer directory (`swap`) fresh, `relay` runs
the sidecar as a process of its own, and `progress` tells a human how it goes.
"""
