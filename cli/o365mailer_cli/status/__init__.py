"""`o365mailer status`: mailers, their pods, which token and which relay these have, and how much mail waits in them."""
