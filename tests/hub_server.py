"""A stand-in of the Hugging Face Hub's API on loopback: repositories are made, committed to and read."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Hub(BaseHTTPRequestHandler):
    repositories: dict[str, dict[str, bytes]]  # by USER/NAME: files by name
    requests: list[dict[str, Any]]  # bodies of requests to make a repository

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            self.requests.append(asked)
            name = f"{asked.get('organization', 'user')}/{asked['name']}"
            self.repositories.setdefault(name, {})
            return self.answer({"url": f"https://huggingface.co/{name}"})
        if self.path == "/api/validate-yaml":
            return self.answer({"warnings": [], "errors": []})
        name = "/".join(self.path.split("/")[3:5])
        if name not in self.repositories:
            return self.answer({"error": "Repository not found"}, 404)
        if "/preupload/" in self.path:
            modes = {"uploadMode": "regular", "shouldIgnore": False}
            return self.answer({"files": [{"path": f["path"], **modes} for f in json.loads(body)["files"]]})
        for line in body.splitlines():  # a commit
            if (item := json.loads(line))["key"] == "file":
                value = item["value"]
                self.repositories[name][value["path"]] = base64.b64decode(value["content"])
        return self.answer({"commitUrl": f"https://huggingface.co/{name}/commit/1", "commitOid": "1" * 40})

    def do_GET(self) -> None:
        parts = self.path.strip("/").split("/")  # USER/NAME/resolve/main/FILE
        content = self.repositories.get("/".join(parts[:2]), {}).get(parts[-1])
        if content is None:
            return self.answer({"error": "not found"}, 404, {"X-Error-Code": "EntryNotFound"})
        headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": "1" * 40}
        return self.answer(content, headers=headers)

    do_HEAD = do_GET

    def answer(self, content: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for key, value in {**(headers or {}), "Content-Length": str(len(data))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def hub() -> Iterator[tuple[str, type[Hub]]]:
    """Its address, and what it holds."""
    kind = type("OwnHub", (Hub,), {"repositories": {}, "requests": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", kind
    finally:
        server.shutdown()
        server.server_close()
