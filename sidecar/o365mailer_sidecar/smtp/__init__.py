"""Both sides of SMTP: the server that apps talk to, and the client that talks to Exchange."""
