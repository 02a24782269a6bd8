"""Filters of maps that know nothing of depth: sums over squares, extremes, cosine transforms, the guided filter, parts of maps."""
