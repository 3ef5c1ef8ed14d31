"""The message: its envelope, body and header, and what the mailer's policy says of them."""
