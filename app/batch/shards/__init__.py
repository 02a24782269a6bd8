"""Shards: files that hold the raw maps of many images each, for those who train on them."""
