# SPDX-License-Identifier: Apache-2.0
"""A small Hugging Face Hub on loopback: the calls that `huggingface_hub` makes to push and download a repository.

Repositories are kept in memory as commits, from path to bytes. As at the real hub, a repository of unknown name and an
unknown revision are errors of their own, weights are uploaded as large files, and a file is served by its commit.
"""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

LARGE = (".pt", ".safetensors")


@dataclass
class Repository:
    """Commits by id, in order; names of branches and tags, and the commit that each points to."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def add(self, files: dict[str, bytes]) -> str:
        """Commit files on the branch main."""
        commit = hashlib.sha1(f"{len(self.commits)} {sorted(files)}".encode()).hexdigest()
        self.commits[commit], self.branches["main"] = files, commit
        return commit

    def resolve(self, revision: str) -> str | None:
        """Return the id of a commit, which may be named by a branch or a tag."""
        commit = self.branches.get(revision) or self.tags.get(revision) or revision
        return commit if commit in self.commits else None


class Hub:
    """The server's state: repositories by owner/name, and the large files that were uploaded, by hash."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.large: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.url = ""


class Handler(http.server.BaseHTTPRequestHandler):
    """Answer one request: the first route whose pattern is the whole path."""

    protocol_version = "HTTP/1.1"
    hub: Hub

    def answer(self, method: str) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length)
        url = urlsplit(self.path)
        path = unquote(url.path)
        self.hub.requests.append(f"{method} {path}")
        for route_method, pattern, route in ROUTES:
            match = re.fullmatch(pattern, path)
            if match and method in route_method.split():
                route(self, *match.groups())
                return
        self.send(404, {"error": f"this hub has no {method} {path}"})

    def do_GET(self) -> None:
        self.answer("GET")

    def do_HEAD(self) -> None:
        self.answer("HEAD")

    def do_POST(self) -> None:
        self.answer("POST")

    def do_PUT(self) -> None:
        self.answer("PUT")

    def log_message(self, *_: Any) -> None:
        pass

    def send(self, status: int, content: Any = b"", **headers: str) -> None:
        payload = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(payload)

    def find(self, name: str, revision: str = "main") -> tuple[Repository, str] | None:
        """Return a repository and a commit; answer the request with an error where there is none."""
        repository = self.hub.repositories.get(name)
        if repository is None:
            self.send(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
            return None
        commit = repository.resolve(revision)
        if commit is None:
            self.send(404, {"error": f"Invalid rev id: {revision}"}, X_Error_Code="RevisionNotFound")
            return None
        return repository, commit

    def create(self) -> None:
        asked = json.loads(self.body)
        name = "/".join(filter(None, (asked.get("organization"), asked["name"])))
        known = name in self.hub.repositories
        if not known:
            self.hub.repositories[name] = Repository()
            self.hub.repositories[name].add({})
        self.send(409 if known else 200, {"url": f"{self.hub.url}/{name}", "name": name, "id": name})

    def validate(self) -> None:
        self.send(200, {"errors": [], "warnings": []})

    def preupload(self, name: str, revision: str) -> None:
        if self.find(name, revision):
            modes = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(self.body)["files"]
            ]
            self.send(200, {"files": modes})

    def batch(self, name: str) -> None:
        asked = json.loads(self.body)["objects"]
        actions = {"upload": {"href": f"{self.hub.url}/upload/OID"}}
        objects = [
            {**one, "actions": json.loads(json.dumps(actions).replace("OID", one["oid"]))}
            for one in asked
            if one["oid"] not in self.hub.large
        ]
        self.send(200, {"transfer": "basic", "objects": objects})

    def upload(self, oid: str) -> None:
        good = hashlib.sha256(self.body).hexdigest() == oid
        if good:
            self.hub.large[oid] = self.body
        self.send(200 if good else 400)

    def commit(self, name: str, revision: str) -> None:
        found = self.find(name, revision)
        if not found:
            return
        repository, parent = found
        files = dict(repository.commits[parent])
        for line in self.body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.hub.large[value["oid"]]
            elif entry["key"] == "deletedFile":
                files.pop(value["path"], None)
        oid = repository.add(files)
        self.send(200, {"success": True, "commitOid": oid, "commitUrl": f"{self.hub.url}/{name}/commit/{oid}"})

    def tag(self, name: str, revision: str) -> None:
        if found := self.find(name, revision):
            wanted = json.loads(self.body)["tag"]
            known = wanted in found[0].tags
            found[0].tags.setdefault(wanted, found[1])
            self.send(409 if known else 200, {})

    def refs(self, name: str) -> None:
        if found := self.find(name):
            kinds = {"branches": found[0].branches, "tags": found[0].tags, "converts": {}}
            refs = {
                kind: [{"name": one, "ref": f"refs/{kind}/{one}", "targetCommit": oid} for one, oid in named.items()]
                for kind, named in kinds.items()
            }
            self.send(200, refs)

    def info(self, name: str, revision: str) -> None:
        if found := self.find(name, revision):
            files = [{"rfilename": path} for path in sorted(found[0].commits[found[1]])]
            self.send(200, {"id": name, "sha": found[1], "siblings": files, "private": True, "tags": []})

    def tree(self, name: str, revision: str) -> None:
        if found := self.find(name, revision):
            files = found[0].commits[found[1]]
            self.send(200, [_described(path, content) for path, content in sorted(files.items())])

    def file(self, name: str, revision: str, path: str) -> None:
        found = self.find(name, revision)
        if not found:
            return
        repository, commit = found
        content = repository.commits[commit].get(path)
        if content is None:
            self.send(404, {"error": "Entry not found"}, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
            return
        entry = _described(path, content)
        etag = entry.get("lfs", {}).get("oid", entry["oid"])
        self.send(200, content, ETag=f'"{etag}"', X_Repo_Commit=commit)


def _described(path: str, content: bytes) -> dict[str, Any]:
    """One file of a tree: git's hash of it, and for a large file that of its bytes."""
    blob = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
    described: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": blob}
    if path.endswith(LARGE):
        described["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
    return described


NAME = r"([^/]+/[^/]+)"
ROUTES: tuple[tuple[str, str, Any], ...] = (
    ("POST", "/api/repos/create", Handler.create),
    ("POST", "/api/validate-yaml", Handler.validate),
    ("POST", f"/api/models/{NAME}/preupload/(.+)", Handler.preupload),
    ("POST", f"/{NAME}.git/info/lfs/objects/batch", Handler.batch),
    ("PUT", "/upload/([0-9a-f]+)", Handler.upload),
    ("POST", f"/api/models/{NAME}/commit/(.+)", Handler.commit),
    ("POST", f"/api/models/{NAME}/tag/(.+)", Handler.tag),
    ("GET", f"/api/models/{NAME}/refs", Handler.refs),
    ("GET", f"/api/models/{NAME}/revision/(.+)", Handler.info),
    ("GET", f"/api/models/{NAME}/tree/([^/]+)/?", Handler.tree),
    ("GET HEAD", f"/{NAME}/resolve/([^/]+)/(.+)", Handler.file),
)


@contextmanager
def serve_hub() -> Iterator[Hub]:
    """Run a hub on loopback; its `url` is what `HF_ENDPOINT` is set to."""
    hub = Hub()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def client_of(hub: Hub, cache: Path) -> Iterator[None]:
    """Point this process's client at a hub; it has read `HF_ENDPOINT` and the others when it was imported."""
    constants = {
        "ENDPOINT": hub.url,
        "HUGGINGFACE_CO_URL_TEMPLATE": hub.url + "/{repo_id}/resolve/{revision}/{filename}",
    }
    constants |= {"HF_HUB_CACHE": str(cache), "HF_HUB_DISABLE_XET": True}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in constants.items():
            patch.setattr(f"huggingface_hub.constants.{name}", value)
        yield
