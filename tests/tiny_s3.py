"""A store that speaks as much of S3 as reading and writing files takes, on 127.0.0.1, in memory."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from email.utils import formatdate
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

CHANGED = 1_700_000_000
ISO_CHANGED = f"{datetime.fromtimestamp(CHANGED, timezone.utc):%Y-%m-%dT%H:%M:%S.000Z}"
# As S3's own servers list them at once.
MOST_KEYS = 1000


def joined(stream):
    """What was sent in parts, each after its length."""
    data = b""
    while size := int(stream.readline().split(b";")[0], 16):
        data += stream.read(size)
        stream.readline()
    while stream.readline().strip():  # checksums
        pass
    return data


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    files: dict[str, bytes]
    uploads: dict[str, dict[int, bytes]]
    requests: list[str]

    def parse_request(self):
        parsed = super().parse_request()
        if parsed:
            self.requests.append(f"{self.command} {self.key}{'?list' * ('list-type' in self.query)}")
        return parsed

    def log_message(self, format, *args):
        pass

    def answer(self, status=200, body=b"", **headers):
        self.send_response(status)
        length = headers.pop("length", len(body))
        for name, value in {"Content-Length": str(length), "Content-Type": "application/xml", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    @property
    def key(self):
        return unquote(urlsplit(self.path).path).strip("/")

    @property
    def query(self):
        return {name: values[0] for name, values in parse_qs(urlsplit(self.path).query, keep_blank_values=True).items()}

    def body(self):
        """Parts of HTTP, and inside them parts of S3."""
        if self.headers.get("Transfer-Encoding") == "chunked":
            data = joined(self.rfile)
        else:
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return joined(BytesIO(data)) if self.headers.get("Content-Encoding") == "aws-chunked" else data

    def about(self, data):
        return {"ETag": f'"{md5(data).hexdigest()}"', "Last_Modified": formatdate(CHANGED, usegmt=True)}

    def do_HEAD(self):
        if "/" not in self.key:
            return self.answer(x_amz_bucket_region="us-east-1")
        data = self.files.get(self.key)
        return self.answer(404) if data is None else self.answer(length=len(data), **self.about(data))

    def do_GET(self):
        if "list-type" in self.query:
            return self.answer(body=self.listing().encode())
        data = self.files.get(self.key)
        if data is None:
            return self.answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        if span := self.headers.get("Range"):
            first, last = span.removeprefix("bytes=").split("-")
            part = data[int(first) : int(last) + 1 if last else None]
            return self.answer(206, part, Content_Range=f"bytes {first}-{int(first) + len(part) - 1}/{len(data)}", **self.about(data))
        return self.answer(body=data, **self.about(data))

    def listing(self):
        """A page of what lies below a prefix; keys that have the delimiter behind it are one entry for all of them."""
        bucket, prefix, delimiter = self.key, self.query.get("prefix", ""), self.query.get("delimiter")
        files = {name.removeprefix(f"{bucket}/"): data for name, data in self.files.items() if name.startswith(f"{bucket}/{prefix}")}
        entries = {}
        for key, data in files.items():
            if delimiter and delimiter in key[len(prefix) :]:
                folder = prefix + key[len(prefix) :].partition(delimiter)[0] + delimiter
                entries[folder] = f"<CommonPrefixes><Prefix>{escape(folder)}</Prefix></CommonPrefixes>"
            else:
                entries[key] = (
                    f"<Contents><Key>{escape(key)}</Key><Size>{len(data)}</Size><LastModified>{ISO_CHANGED}</LastModified></Contents>"
                )
        names = sorted(name for name in entries if name > self.query.get("continuation-token", ""))
        page, more = names[:MOST_KEYS], len(names) > MOST_KEYS
        after = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
        head = f"<IsTruncated>{str(more).lower()}</IsTruncated><KeyCount>{len(page)}</KeyCount>{after}"
        return f"<ListBucketResult>{head}{''.join(entries[name] for name in page)}</ListBucketResult>"

    def do_PUT(self):
        data = self.body()
        if "uploadId" in self.query:
            self.uploads[self.query["uploadId"]][int(self.query["partNumber"])] = data
        else:
            self.files[self.key] = data
        self.answer(ETag=f'"{md5(data).hexdigest()}"')

    def do_POST(self):
        self.body()
        if "uploads" in self.query:
            name = str(len(self.uploads))
            self.uploads[name] = {}
            return self.answer(body=f"<InitiateMultipartUploadResult><UploadId>{name}</UploadId></InitiateMultipartUploadResult>".encode())
        parts = self.uploads[self.query["uploadId"]]
        self.files[self.key] = b"".join(parts[number] for number in sorted(parts))
        return self.answer(body=b"<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>")

    def do_DELETE(self):
        self.files.pop(self.key, None)
        self.answer(204)


@contextmanager
def tiny_s3(requests: list[str] | None = None) -> Iterator[tuple[dict[str, str], dict[str, bytes]]]:
    """The environment by which a process reaches the store, and its files by bucket and key.

    Args:
        requests: Gets every request, as "GET bucket/key".
    """
    files: dict[str, bytes] = {}
    handler = type("S3", (Handler,), {"files": files, "uploads": {}, "requests": [] if requests is None else requests})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        yield {"AWS_ENDPOINT_URL": address, "AWS_DEFAULT_REGION": "us-east-1", **dict.fromkeys(names, "x")}, files
        server.shutdown()
