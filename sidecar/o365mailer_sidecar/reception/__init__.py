"""What an app says, and what it is answered: SMTP on loopback."""
