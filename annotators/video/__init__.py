"""Networks that process several frames of a video in one window."""
