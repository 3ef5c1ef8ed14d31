"""SMTP sessions of hostile clients: what they say, and a model of what they must be answered."""
