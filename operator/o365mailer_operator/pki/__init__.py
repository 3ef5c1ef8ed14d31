"""The webhook's certificates: the authority that the controller keeps, and the leaves that replicas sign with it."""
