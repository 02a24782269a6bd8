"""Images on a Ray cluster: the engine of `estimate --engine ray`."""
