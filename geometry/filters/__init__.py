"""Generic map filters: box sums, extremes, cosine transforms, the guided filter, parts of maps."""
