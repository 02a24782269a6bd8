"""Runs a saved workflow in a ComfyUI server as its page would, without the page.

    python tests/comfyui/run_workflow.py WORKFLOW.json --server http://127.0.0.1:8188 --out DIR [--image in.png] [--set NODE.input=JSON]

Prints a line for each file and each problem. Exit codes: 0 done, 1 a node failed, 2 refused, 3 not done in time.
Needs nothing but Python. Subgraphs are not opened.
"""

from __future__ import annotations

import argparse
import json
import mimetypes
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from pathlib import Path
from typing import Any

DONE, FAILED, REFUSED, LATE = range(4)

# Of the page alone: they do nothing in the server.
_NOTES = ("Note", "MarkdownNote")
_THROUGH = ("Reroute",)
_NEVER, _BYPASSED = 2, 4
_WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COMFY_DYNAMICCOMBO_V3", "COLOR")
# Widgets that bring another one along, which the server is not told of.
_SEEDS, _AFTER_SEEDS = ("seed", "noise_seed"), ("fixed", "increment", "decrement", "randomize")
_UPLOADS = ("image_upload", "video_upload", "audio_upload", "animated_image_upload")


class Client:
    """What this program asks a server."""

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")

    def ask(self, path: str, body: bytes | None = None, kind: str = "application/json") -> tuple[int, bytes]:
        """Status and answer, also where the server refuses."""
        request = urllib.request.Request(self.address + path, data=body, headers={"Content-Type": kind} if body is not None else {})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def json(self, path: str) -> Any:
        """An answer that is JSON."""
        return json.loads(self.ask(path)[1])

    def upload(self, image: Path) -> str:
        """The name by which *Load Image* knows the image."""
        boundary, kind = uuid.uuid4().hex, mimetypes.guess_type(image.name)[0] or "application/octet-stream"
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="overwrite"\r\n\r\ntrue\r\n'
            f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{image.name}"\r\nContent-Type: {kind}\r\n\r\n'
        )
        body = head.encode() + image.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
        status, answer = self.ask("/upload/image", body, f"multipart/form-data; boundary={boundary}")
        if status != 200:
            raise RuntimeError(f"the server did not take {image} ({status}): {answer[:300]!r}")
        stored = json.loads(answer)
        return "/".join(part for part in (stored.get("subfolder"), stored["name"]) if part)


class Conversion:
    """A workflow as the page saves it, turned into what the server is asked.

    Attributes:
        prompt: In the format of the API.
        problems: What the page would mark red.
        notes: What the page would mend silently.
    """

    def __init__(self, workflow: dict, nodes: dict[str, dict]) -> None:
        self.prompt: dict[str, dict] = {}
        self.problems: list[str] = []
        self.notes: list[str] = []
        self._known = nodes
        self._nodes = {node["id"]: node for node in workflow["nodes"]}
        self._links = {link[0]: link for link in workflow["links"]}
        for node in workflow["nodes"]:
            if node["type"] not in (*_NOTES, *_THROUGH, "PrimitiveNode") and node.get("mode", 0) not in (_NEVER, _BYPASSED):
                self._add(node)

    def _add(self, node: dict) -> None:
        known = self._known.get(node["type"])
        if known is None:
            self.problems.append(f"node {node['id']}: no node {node['type']!r} is installed")
            return
        declared = {name: spec for group in ("required", "optional") for name, spec in known["input"].get(group, {}).items()}
        values = self._saved_values(node, declared)
        for entry in node.get("inputs") or ():
            if entry.get("link") is None:
                continue
            if entry["name"] not in declared:
                self.notes.append(f"note node {node['id']} ({node['type']}): it has no input {entry['name']!r}, which a link leads to")
            source = self._source(entry["link"])
            if source is None:
                values.pop(entry["name"], None)
            else:
                values[entry["name"]] = source
        self.prompt[str(node["id"])] = {"class_type": node["type"], "inputs": values}

    def _saved_values(self, node: dict, declared: dict[str, list]) -> dict[str, Any]:
        saved = node.get("widgets_values") or []
        if isinstance(saved, dict):
            return {name: value for name, value in saved.items() if name in declared}
        left, values = list(saved), {}
        for name, spec in declared.items():
            options = spec[1] if len(spec) > 1 else {}
            if not (isinstance(spec[0], list) or spec[0] in _WIDGETS) or options.get("forceInput"):
                continue
            if left:
                values[name] = left.pop(0)
            elif "default" in options:
                values[name] = options["default"]
                self.notes.append(f"note node {node['id']} ({node['type']}): {name} was not saved, its default is taken")
            if left and (options.get("control_after_generate") or name in _SEEDS) and left[0] in _AFTER_SEEDS:
                left.pop(0)
            if left and any(options.get(each) for each in _UPLOADS):
                left.pop(0)
        if left:
            self.notes.append(f"note node {node['id']} ({node['type']}): {len(left)} saved values are left over: {left}")
        return values

    def _source(self, link: int) -> Any:
        """Where a link comes from, through what only passes on: [node, output], a value, or None."""
        for _ in range(len(self._nodes) + 1):
            if link not in self._links:
                return None
            _, origin, output, _, _, kind, *_ = self._links[link]
            node = self._nodes[origin]
            if node["type"] == "PrimitiveNode":
                return node["widgets_values"][0]
            if node["type"] in _THROUGH:
                link = node["inputs"][0]["link"]
            elif node.get("mode", 0) == _BYPASSED:
                link = next((entry.get("link") for entry in node.get("inputs") or () if entry["type"] == kind), None)
            else:
                return None if node.get("mode", 0) == _NEVER else [str(origin), output]
        return None


def run(client: Client, prompt: dict, out: Path, timeout: float) -> int:
    """Submits a prompt, waits, and keeps what it makes; returns the exit code."""
    status, answer = client.ask("/prompt", json.dumps({"prompt": prompt, "client_id": uuid.uuid4().hex}).encode())
    told = json.loads(answer or b"{}")
    for number, errors in (told.get("node_errors") or {}).items():
        for error in errors["errors"]:
            print(f"PROBLEM node {number} ({errors['class_type']}): {error['message']}: {error.get('details')}")
    if status != 200:
        print("REFUSED", status, told.get("error"))
        return REFUSED
    end, history = time.monotonic() + timeout, {}
    while told["prompt_id"] not in history:
        if time.monotonic() > end:
            client.ask("/interrupt", b"{}")
            print(f"LATE: not done in {timeout:g} seconds")
            return LATE
        time.sleep(0.1)
        history = client.json(f"/history/{told['prompt_id']}")
    entry = history[told["prompt_id"]]
    for kind, message in entry["status"].get("messages", ()):
        if kind == "execution_error":
            print(f"ERROR node {message['node_id']} ({message['node_type']}): {message['exception_message'].strip()}")
    out.mkdir(parents=True, exist_ok=True)
    for number, made in entry.get("outputs", {}).items():
        for file in (each for files in made.values() if isinstance(files, list) for each in files):
            if isinstance(file, dict) and "filename" in file:
                _keep(client, file, out / f"{number}_{file['filename']}")
            else:
                print(f"node {number}: {str(file)[:300]}")
    return DONE if entry["status"]["status_str"] == "success" else FAILED


def _keep(client: Client, file: dict, path: Path) -> None:
    query = urllib.parse.urlencode({key: file.get(key, "") for key in ("filename", "subfolder", "type")})
    path.write_bytes(client.ask(f"/view?{query}")[1])
    print(path)


def main() -> int:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workflow", type=Path)
    parser.add_argument("--server", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--image", type=Path, help="uploaded, and given to every Load Image")
    parser.add_argument("--set", action="append", default=[], metavar="NODE.INPUT=JSON")
    parser.add_argument("--dump", type=Path, help="where to write the prompt as it is sent")
    parser.add_argument("--timeout", type=float, default=300)
    arguments = parser.parse_args()
    client, workflow = Client(arguments.server), json.loads(arguments.workflow.read_text())
    converted = Conversion(workflow, client.json("/object_info"))
    for problem in (*(f"PROBLEM {each}" for each in converted.problems), *converted.notes):
        print(problem)
    if arguments.image:
        name = client.upload(arguments.image)
        for call in converted.prompt.values():
            if call["class_type"] in ("LoadImage", "LoadImageMask", "DepthNormal_DemoImage"):
                call["inputs"]["image"] = name
    for setting in arguments.set:
        place, _, value = setting.partition("=")
        number, _, name = place.partition(".")
        converted.prompt[number]["inputs"][name] = json.loads(value)
    if arguments.dump:
        arguments.dump.write_text(json.dumps(converted.prompt, indent=1))
    return run(client, converted.prompt, arguments.out, arguments.timeout)


if __name__ == "__main__":
    sys.exit(main())
