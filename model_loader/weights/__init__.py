"""Weights files: found, downloaded, verified, read and identified. Nothing else opens the disk or the network for them."""
