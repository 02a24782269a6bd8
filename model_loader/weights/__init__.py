"""Finds, downloads, verifies, reads and identifies weights files. No other package accesses the disk or the network for them."""
