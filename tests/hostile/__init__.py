"""Attacks of a user who may edit one namespace. A package, so that what its tests share ends with them."""
