"""The command `o365mailer`, which is also `kubectl o365mailer`. Each verb has a module or a package of its own."""
