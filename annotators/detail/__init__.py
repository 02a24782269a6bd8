"""More detail than a network gives in one pass, for the families that have their own way to it."""
