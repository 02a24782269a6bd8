"""A node pack for a ComfyUI server: zoedepth-nyu comes from a server of this machine, so slowly that its download can be watched."""

import sys
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SIZE, PIECES = 50_000_000, 200


class Slow(BaseHTTPRequestHandler):
    """Sends zeros for about twenty seconds."""

    def do_GET(self):
        time.sleep(1)
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(SIZE))
        self.end_headers()
        for _ in range(PIECES):
            self.wfile.write(bytes(SIZE // PIECES))
            time.sleep(0.1)

    def log_message(self, format, *args):
        """Keeps the log clean."""


class UseSlowDownload:
    """Replaces the model's file in the running server, and lets downloads through."""

    CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_NODE = "tests", "execute", (), True

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {"required": {}}

    def execute(self):
        self.server = server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
        server.daemon_threads, server.handle_error = True, lambda *_: None  # that nobody reads any more is what is tested
        threading.Thread(target=server.serve_forever, daemon=True).start()
        pack = next(name for name in list(sys.modules) if name.endswith(".annotators.registry")).removesuffix(".annotators.registry")
        models = sys.modules[f"{pack}.annotators.registry"].MODELS
        spec = models["zoedepth-nyu"]
        file = replace(
            spec.file, repo_id=None, url=f"http://127.0.0.1:{server.server_port}/zoe.pt", size=SIZE, sha256=None, revision="main"
        )
        models["zoedepth-nyu"] = replace(spec, files=(file,))
        setattr(sys.modules[f"{pack}.model_loader.weights.hub"], "is_offline", lambda: False)  # noqa: B010
        return ()


NODE_CLASS_MAPPINGS = {"Test_UseSlowDownload": UseSlowDownload}
