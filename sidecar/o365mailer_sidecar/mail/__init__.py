"""One message: its envelope and octets, who it is from, and what of it is changed on the way."""
