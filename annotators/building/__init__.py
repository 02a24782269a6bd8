"""Networks built and filled from state dicts, strictly."""
