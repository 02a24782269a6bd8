"""The local page of `depth-normal ui`: its server, its queue of images, and its files. Needs aiohttp, which only `server` imports."""
