"""The verbs that talk to a cluster. A package, so that what its tests share ends with them."""
