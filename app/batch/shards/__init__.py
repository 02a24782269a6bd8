"""Shards: files with the raw maps of many images each, for training."""
