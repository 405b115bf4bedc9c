"""A stand-in for the Hugging Face hub: as much of its HTTP interface as a model needs, on loopback.

It keeps repositories in memory: commits, branches, small files inline and large ones by the LFS
protocol, with the headers and error codes by which the client tells what happened.
"""

from __future__ import annotations

import base64
import hashlib
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

LARGE = 2**14
"""Files from this many bytes on go by LFS."""


class Repository:
    """Commits, oldest first, and where branches point."""

    def __init__(self) -> None:
        self.private = False
        self.commits: dict[str, dict[str, bytes]] = {}
        self.messages: dict[str, str] = {}
        self.branches: dict[str, str] = {}
        self.commit("main", {}, "first")

    def commit(self, branch: str, files: dict[str, bytes], message: str) -> str:
        """Add files to those of a branch; the commit's id."""
        before = self.commits.get(self.branches.get(branch, ""), {})
        sha = hashlib.sha1(f"{len(self.commits)} {message}".encode()).hexdigest()
        self.commits[sha], self.messages[sha] = {**before, **files}, message
        self.branches[branch] = sha
        return sha

    def find(self, revision: str) -> str | None:
        """The commit of a branch or of itself."""
        found = self.branches.get(revision, revision)
        return found if found in self.commits else None


class StandIn(ThreadingHTTPServer):
    """The server: `with StandIn() as hub: …`; `hub.url` is what HF_ENDPOINT should say.

    Attributes:
        repositories: by their names; tests may write to them.
        requests: what was asked, as "GET /path".
        said_sizes: sizes to declare in the place of the true ones, by file name.
        token: what a client must present to write; None lets anybody.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, Repository] = {}
        self.requests: list[str] = []
        self.said_sizes: dict[str, int | None] = {}
        self.uploaded: dict[str, bytes] = {}
        self.token: str | None = None
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> StandIn:
        Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: StandIn
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""

    def do_GET(self) -> None:
        self.answer_reading()

    def do_HEAD(self) -> None:
        self.answer_reading()

    def answer_reading(self) -> None:
        """Descriptions of repositories, and their files."""
        path = self.note()
        if path.startswith("/lfs/"):
            return self.reply(200, self.server.uploaded[path.rpartition("/")[2]])
        parts = [unquote(part) for part in PurePosixPath(path).parts[1:]]
        if parts[:2] == ["api", "models"]:
            name, revision = "/".join(parts[2:4]), parts[5] if len(parts) > 5 else "main"
        elif len(parts) > 4 and parts[2] == "resolve":
            name, revision = "/".join(parts[:2]), parts[3]
        else:
            return self.fail(404, "EntryNotFound")
        repository = self.server.repositories.get(name)
        if repository is None:
            return self.fail(401, "RepoNotFound")
        if (sha := repository.find(revision)) is None:
            return self.fail(404, "RevisionNotFound")
        files = repository.commits[sha]
        if parts[0] == "api":
            said = self.server.said_sizes
            siblings = [
                {"rfilename": file, "size": said.get(file, len(data)), "blobId": oid_of(data)}
                for file, data in files.items()
            ]
            about = {"_id": name, "id": name, "modelId": name, "sha": sha, "siblings": siblings}
            return self.reply_json({**about, "private": repository.private, "tags": []})
        file = "/".join(parts[4:])
        if file not in files:
            return self.fail(404, "EntryNotFound")
        data = files[file]
        headers = {"X-Repo-Commit": sha, "ETag": f'"{oid_of(data)}"'}
        if len(data) < LARGE:
            return self.reply(200, data, headers)
        self.server.uploaded[oid_of(data)] = data
        headers |= {"X-Linked-Size": str(len(data)), "X-Linked-Etag": headers["ETag"]}
        # Large files lie on another host than the hub's own.
        elsewhere = self.server.url.replace("127.0.0.1", "localhost")
        headers["Location"] = f"{elsewhere}/lfs/{oid_of(data)}"
        return self.reply(302, b"", headers)

    def do_POST(self) -> None:
        path, body = self.note(), self.body()
        if path == "/api/validate-yaml":
            content = json.loads(body)["content"]
            errors = [] if content.startswith("---\n") else [{"message": "no metadata"}]
            return self.reply_json({"errors": errors, "warnings": []}, 400 if errors else 200)
        wanted = self.server.token
        if wanted is not None and self.headers.get("Authorization") != f"Bearer {wanted}":
            return self.fail(401, "", "Invalid credentials in Authorization header")
        if path == "/api/repos/create":
            told = json.loads(body)
            name = f"{told['organization']}/{told['name']}"
            if name in self.server.repositories:
                return self.reply_json({"url": f"{self.server.url}/{name}"}, 409)
            self.server.repositories[name] = Repository()
            self.server.repositories[name].private = "private" in (
                told.get("visibility"), "private" if told.get("private") else "",
            )  # fmt: skip
            return self.reply_json({"url": f"{self.server.url}/{name}"})
        if path.endswith(".git/info/lfs/objects/batch"):
            objects = [
                {**one, "actions": {"upload": {"href": f"{self.server.url}/lfs/{one['oid']}"}}}
                for one in json.loads(body)["objects"]
            ]
            return self.reply_json({"transfer": "basic", "objects": objects})
        parts = [unquote(part) for part in PurePosixPath(path).parts[1:]]
        name, verb, branch = "/".join(parts[2:4]), parts[4], parts[5]
        repository = self.server.repositories[name]
        if verb == "branch":
            repository.branches[branch] = repository.branches["main"]
            return self.reply_json({})
        if verb == "preupload":
            modes = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["size"] >= LARGE else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(body)["files"]
            ]
            return self.reply_json({"files": modes})
        files, message = {}, ""
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "header":
                message = value["summary"]
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.server.uploaded[value["oid"]]
        sha = repository.commit(branch, files, message)
        url = f"{self.server.url}/{name}/commit/{sha}"
        return self.reply_json({"success": True, "commitOid": sha, "commitUrl": url})

    def do_PUT(self) -> None:
        oid, data = self.note().rpartition("/")[2], self.body()
        if hashlib.sha256(data).hexdigest() != oid:
            return self.fail(400, "")
        self.server.uploaded[oid] = data
        return self.reply(200, b"")

    def note(self) -> str:
        """The path that is asked for."""
        self.server.requests.append(f"{self.command} {self.path}")
        return urlsplit(self.path).path

    def body(self) -> bytes:
        """What came with the request, in one piece or in chunks."""
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def reply_json(self, value: Any, status: int = 200) -> None:
        self.reply(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def fail(self, status: int, code: str, message: str = "") -> None:
        headers = {"X-Error-Code": code, "X-Error-Message": message}
        self.reply(status, b"{}", {name: value for name, value in headers.items() if value})

    def reply(self, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def oid_of(data: bytes) -> str:
    """The hub's name of a file's content."""
    return hashlib.sha256(data).hexdigest()
