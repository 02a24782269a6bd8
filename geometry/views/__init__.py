"""Other views of an image by its depth: stereo and parallax."""
