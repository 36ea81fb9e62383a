"""A model hub of a few endpoints, on this machine: what huggingface_hub asks of one to make a repository and commit.

Large files come by git-lfs' batch protocol (``HF_HUB_DISABLE_XET=1``). It can be told to break off while the second
large file arrives, as a connection does.
"""

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "hf_token_of_the_test"


class Hub:
    """``with Hub() as hub:`` serves at ``hub.url``; ``files`` is what the repository shows, ``blobs`` what arrived."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.files: dict[str, bytes] = {}
        self.made: list[dict] = []
        self.uploaded: list[str] = []
        self.commits = 0
        self.breaks_off = False

    def __enter__(self) -> "Hub":
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def _body(self) -> bytes:
                if self.headers.get("Transfer-Encoding") == "chunked":
                    parts = []
                    while size := int(self.rfile.readline(), 16):
                        parts.append(self.rfile.read(size))
                        self.rfile.readline()
                    self.rfile.readline()
                    return b"".join(parts)
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))

            def _answer(self, content: object, status: int = 200) -> None:
                raw = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def do_GET(self) -> None:
                self._answer({"id": "ada/demo", "sha": "0" * 40, "siblings": []})

            def do_PUT(self) -> None:
                oid = self.path.rpartition("/")[2]
                content = self._body()
                if hub.breaks_off and hub.uploaded:
                    self.connection.close()
                    return
                assert hashlib.sha256(content).hexdigest() == oid
                hub.blobs[oid] = content
                hub.uploaded.append(oid)
                self._answer({})

            def do_POST(self) -> None:
                body = self._body()
                if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                    self._answer({"error": "Invalid username or password."}, 401)
                elif self.path.startswith("/api/repos/create"):
                    hub.made.append(json.loads(body))
                    self._answer({"url": f"{hub.url}/ada/demo", "id": "ada/demo", "name": "ada/demo"})
                elif self.path.startswith("/api/validate-yaml"):
                    self._answer({"errors": [], "warnings": []})
                elif "/preupload/" in self.path:
                    wanted = json.loads(body)["files"]
                    self._answer({"files": [{"path": one["path"], "shouldIgnore": False,
                                             "uploadMode": "lfs" if one["path"].endswith(".safetensors") else "regular"}
                                            for one in wanted]})  # fmt: skip
                elif self.path.endswith("/info/lfs/objects/batch"):
                    objects = json.loads(body)["objects"]
                    self._answer({"transfer": "basic", "objects": [self._action(one) for one in objects]})
                elif "/commit/" in self.path:
                    hub.commits += 1
                    for line in body.splitlines():
                        hub._take(json.loads(line))
                    self._answer({"success": True, "commitOid": "1" * 40, "commitUrl": f"{hub.url}/ada/demo/commit/1"})
                else:
                    self._answer({"error": f"unknown: {self.path}"}, 404)

            def _action(self, one: dict) -> dict:
                if one["oid"] in hub.blobs:
                    return one  # without actions: it is there
                return one | {"actions": {"upload": {"href": f"{hub.url}/put/{one['oid']}"}}}

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _take(self, line: dict) -> None:
        value = line["value"]
        if line["key"] == "file":
            self.files[value["path"]] = base64.b64decode(value["content"])
        elif line["key"] == "lfsFile":
            self.files[value["path"]] = self.blobs[value["oid"]]
