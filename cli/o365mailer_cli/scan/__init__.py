"""`o365mailer scan`: which workloads still log in to Office 365 with a password, and the lines that move each.

`objects` and `files` read (a cluster, or manifests); everything else is pure: `workload` finds what a pod template
names, `text` reads configuration files line by line, `login` decides which settings are a login with a password, `move`
writes the two lines, `report` says it.
"""
