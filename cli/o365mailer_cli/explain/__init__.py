"""`o365mailer explain`: why a pod has a relay or none, what was done to it, and what to do."""
