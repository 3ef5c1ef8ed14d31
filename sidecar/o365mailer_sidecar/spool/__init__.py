"""Messages on disk, durable before anybody is told 250; and the command that shows them to a person."""
