"""From images to a network's input: sizes, resampling, and the other steps."""
