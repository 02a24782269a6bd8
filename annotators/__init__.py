"""One file a model family: pixels in, `Estimate` out. No disk, no network, no ComfyUI."""
