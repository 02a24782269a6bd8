"""Novel views of an image from its depth: stereo and parallax."""
