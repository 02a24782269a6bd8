"""The pack without ComfyUI: the command line."""
