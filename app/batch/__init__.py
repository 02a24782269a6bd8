"""Many images: found, planned, read, estimated, written and recorded, and the local engine."""
