"""Messages on disk: files that survive a crash, and the commands that show them."""
