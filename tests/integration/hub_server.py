"""A stand-in of the Hub's HTTP interface on the loopback address, for the real client libraries.

It serves what `huggingface_hub`, `datasets` and `transformers` ask for when they create, push to,
list and pull from repositories over plain HTTP and LFS (HF_HUB_DISABLE_XET=1). Statuses and
X-Error-Code headers are the Hub's, so that the libraries raise what they would raise there.
"""

import json
import os
import re
import secrets
import urllib.parse
from pathlib import Path

from file_server import Handler, LoopbackServer
from hub_cards import read_card
from hub_changes import Changes
from hub_repositories import (
    KINDS,
    MAIN,
    Commit,
    RefusedError,
    Repositories,
    Repository,
    StoredFile,
    flag,
    pointer,
)


def lfs_entry(file: StoredFile, name_of_hash: str) -> dict:
    """The LFS part of a file's listing."""
    size = len(pointer(file.sha256, file.size))
    return {name_of_hash: file.sha256, "size": file.size, "pointerSize": size}


def tree_entry(path: str, file: StoredFile | None, commit: Commit, expand: bool) -> dict:
    """A file (or, where file is None, a folder) as the Hub lists it."""
    if file is None:
        entry = {"type": "directory", "oid": commit.oid, "size": 0, "path": path}
    else:
        entry = {"type": "file", "oid": file.blob_id, "size": file.size, "path": path}
        if file.large:
            entry["lfs"] = lfs_entry(file, "oid")
    if expand:
        entry["lastCommit"] = {"id": commit.oid, "title": commit.title, "date": commit.date}
    return entry


def is_folder(commit: Commit, path: str) -> bool:
    """Whether any file of a commit lies below the path."""
    return not path or any(name.startswith(path + "/") for name in commit.files)


class HubHandler(Changes, Handler):
    """Finds the route of a request and answers in the Hub's way."""

    server: "HubServer"

    def answer(self, path, query):
        self.query = query
        try:
            self.user = self._user()
            for method, pattern, name in ROUTES:
                found = re.fullmatch(pattern, path)
                if found and self.command in method.split():
                    parts = {
                        key: urllib.parse.unquote(value or "")
                        for key, value in found.groupdict().items()
                    }
                    getattr(self, name)(**parts)
                    return
            raise RefusedError(404, f"The stand-in has no route {self.command} {path}")
        except RefusedError as refusal:
            headers = {"X-Error-Message": refusal.message, **refusal.headers}
            if refusal.code:
                headers["X-Error-Code"] = refusal.code
            body = {"error": refusal.message, **refusal.body}
            self.send_json(body, refusal.status, headers)

    def _user(self) -> str | None:
        credentials = self.headers.get("Authorization")
        if credentials is None:
            return None
        user = self.server.repositories.users.get(credentials.removeprefix("Bearer "))
        if user is None:
            raise RefusedError(401, "Invalid credentials in Authorization header")
        return user

    def _visible(self, kind: str, name: str) -> Repository:
        return self.server.repositories.visible(kind, name, self.user)

    def _writable(self, kind: str, name: str) -> Repository:
        return self.server.repositories.writable(kind, name, self.user)

    def _json_body(self) -> dict:
        return json.loads(self.body() or b"{}")

    # Users and repositories

    def whoami(self):
        if self.user is None:
            raise RefusedError(401, "Invalid username or password.")
        token = {"displayName": "stand-in", "role": "write"}
        auth = {"type": "access_token", "accessToken": token}
        self.send_json({"type": "user", "name": self.user, "orgs": [], "auth": auth})

    def _named_in_body(self, body: dict) -> tuple[str, str]:
        owner = body.get("organization") or self.user
        return body.get("type") or "model", f"{owner}/{body['name']}"

    def create(self):
        body = self._json_body()
        kind, name = self._named_in_body(body)
        self.server.repositories.check_owner(name, self.user)
        url = f"{self.server.url}/{'' if kind == 'model' else kind + 's/'}{name}"
        private = flag(body.get("private")) or body.get("visibility") == "private"
        try:
            repository = self.server.repositories.create(kind, name, private)
        except RefusedError as refusal:
            refusal.body["url"] = url
            raise
        self.send_json({"url": url, "name": repository.name, "id": repository.name})

    def delete(self):
        kind, name = self._named_in_body(self._json_body())
        self.server.repositories.delete(self._writable(kind, name))
        self.send_json({})

    def listing(self, kind):
        wanted = self.query.get("search", "").lower()
        found = [
            self._info(repository, repository.resolve(MAIN))
            for repository in self.server.repositories
            if repository.kind == kind
            and (not repository.private or repository.name.split("/")[0] == self.user)
            and self.query.get("author", repository.name.split("/")[0])
            == repository.name.split("/")[0]
            and wanted in repository.name.lower()
        ]
        self.send_json(found)

    def auth_check(self, kind, name):
        self._visible(kind, name)
        self.send_json({})

    def info(self, kind, name, revision=MAIN):
        repository = self._visible(kind, name)
        self.send_json(self._info(repository, repository.resolve(revision)))

    def _info(self, repository: Repository, commit: Commit) -> dict:
        card = {}
        if readme := commit.files.get("README.md"):
            card = read_card(self.server.repositories.store.read(readme).decode())[0]
        siblings = [{"rfilename": path} for path in sorted(commit.files)]
        if flag(self.query.get("blobs", "")):
            for sibling in siblings:
                file = commit.files[sibling["rfilename"]]
                sibling.update(size=file.size, blobId=file.blob_id)
                if file.large:
                    sibling["lfs"] = lfs_entry(file, "sha256")
        info = {
            "_id": commit.oid[:24],
            "id": repository.name,
            "author": repository.name.split("/")[0],
            "sha": commit.oid,
            "createdAt": repository.created,
            "lastModified": commit.date,
            "private": repository.private,
            "gated": False,
            "disabled": False,
            "downloads": 0,
            "likes": 0,
            "tags": list(card.get("tags") or []),
            "cardData": card,
            "siblings": siblings,
        }
        if repository.kind == "model":
            info.update(self._model_info(repository, commit, card))
        return info

    def _model_info(self, repository: Repository, commit: Commit, card: dict) -> dict:
        info = {
            "modelId": repository.name,
            "pipeline_tag": card.get("pipeline_tag"),
            "library_name": card.get("library_name"),
            "model-index": card.get("model-index"),
        }
        if file := commit.files.get("config.json"):
            config = json.loads(self.server.repositories.store.read(file))
            names = ("architectures", "auto_map", "model_type")
            info["config"] = {name: config[name] for name in names if name in config}
        return info

    # Revisions

    def refs(self, kind, name):
        repository = self._visible(kind, name)

        def listed(names: dict[str, str], folder: str) -> list[dict]:
            return [
                {"name": name, "ref": f"refs/{folder}/{name}", "targetCommit": oid}
                for name, oid in names.items()
            ]

        branches, tags = listed(repository.branches, "heads"), listed(repository.tags, "tags")
        self.send_json({"branches": branches, "tags": tags, "converts": [], "pullRequests": []})

    def history(self, kind, name, revision):
        commits = self._visible(kind, name).history(revision)
        self.send_json(
            [
                {
                    "id": commit.oid,
                    "title": commit.title,
                    "message": commit.message,
                    "date": commit.date,
                    "authors": [{"user": name.split("/")[0]}],
                }
                for commit in commits
            ]
        )

    def branch(self, kind, name, label):
        repository = self._writable(kind, name)
        if self.command == "DELETE":
            self._drop(repository.branches, label)
        elif label in repository.branches:
            raise RefusedError(409, f"Reference already exists: refs/heads/{label}")
        else:
            start = self._json_body().get("startingPoint") or MAIN
            repository.branches[label] = repository.resolve(start).oid
        self.send_json({})

    def tag(self, kind, name, label):
        repository = self._writable(kind, name)
        if self.command == "DELETE":
            self._drop(repository.tags, label)
        else:
            commit, tag = repository.resolve(label), self._json_body()["tag"]
            if tag in repository.tags:
                raise RefusedError(409, f"Reference already exists: refs/tags/{tag}")
            repository.tags[tag] = commit.oid
        self.send_json({})

    @staticmethod
    def _drop(names: dict[str, str], label: str) -> None:
        if label == MAIN or names.pop(label, None) is None:
            raise RefusedError(404, f"Invalid rev id: {label}", "RevisionNotFound")

    def discussions(self, kind, name):
        self._visible(kind, name)
        self.send_json({"discussions": [], "count": 0, "start": 0})

    # Files

    def tree(self, kind, name, revision, folder=""):
        commit = self._visible(kind, name).resolve(revision)
        if not is_folder(commit, folder):
            raise RefusedError(404, f"{folder} does not exist on {revision}", "EntryNotFound")
        prefix, expand = folder + "/" if folder else "", flag(self.query.get("expand", ""))
        entries: dict[str, StoredFile | None] = {}
        for path, file in commit.files.items():
            if path.startswith(prefix):
                parts = path.removeprefix(prefix).split("/")
                for depth in range(1, len(parts)):
                    entries[prefix + "/".join(parts[:depth])] = None
                entries[path] = file
        if not flag(self.query.get("recursive", "")):
            entries = {
                path: file for path, file in entries.items() if "/" not in path.removeprefix(prefix)
            }
        self.send_json(
            [tree_entry(path, entries[path], commit, expand) for path in sorted(entries)]
        )

    def paths_info(self, kind, name, revision):
        commit = self._visible(kind, name).resolve(revision)
        if "json" in self.headers.get("Content-Type", ""):
            body = self._json_body()
        else:
            body = urllib.parse.parse_qs(self.body().decode())
            body["expand"] = body.get("expand", ["false"])[0]
        paths = [path.strip("/") for path in body.get("paths", [])]
        self.send_json(
            [
                tree_entry(path, commit.files.get(path), commit, flag(body.get("expand")))
                for path in paths
                if path in commit.files or is_folder(commit, path)
            ]
        )

    def resolve(self, name, revision, path, kinds=""):
        repository = self._visible(kinds.removesuffix("s/") or "model", name)
        commit = repository.resolve(revision)
        file = commit.files.get(path)
        headers = {"X-Repo-Commit": commit.oid}
        if file is None:
            refusal = RefusedError(404, "Entry not found", "EntryNotFound")
            refusal.headers = headers
            raise refusal
        headers["ETag"] = f'"{file.tag}"'
        if file.large:
            headers.update({"X-Linked-ETag": f'"{file.tag}"', "X-Linked-Size": str(file.size)})
        self.send_file(self.server.repositories.store.path(file.sha256), headers)


# The first repository names had no owner; here each has one.
_NAME = r"(?P<name>[\w.-]+/[\w.-]+)"
_API = rf"/api/(?P<kind>{'|'.join(KINDS)})s/{_NAME}"
_WEB = rf"/(?P<kinds>datasets/|spaces/)?{_NAME}"
_REVISION = r"(?P<revision>(?:refs/(?:convert|pr|heads|tags)/)?[^/]+)"
ROUTES = (
    ("GET", "/api/whoami-v2", "whoami"),
    ("POST", "/api/validate-yaml", "validate"),
    ("POST", "/api/repos/create", "create"),
    ("DELETE", "/api/repos/delete", "delete"),
    ("GET", rf"/api/(?P<kind>{'|'.join(KINDS)})s", "listing"),
    ("GET HEAD", _API, "info"),
    ("GET HEAD", rf"{_API}/revision/{_REVISION}", "info"),
    ("GET", rf"{_API}/auth-check", "auth_check"),
    ("GET", rf"{_API}/refs", "refs"),
    ("GET", rf"{_API}/commits/{_REVISION}", "history"),
    ("POST DELETE", rf"{_API}/branch/(?P<label>[^/]+)", "branch"),
    ("POST DELETE", rf"{_API}/tag/(?P<label>[^/]+)", "tag"),
    ("GET", rf"{_API}/discussions", "discussions"),
    ("GET", rf"{_API}/tree/{_REVISION}(?:/(?P<folder>.+?))?/?", "tree"),
    ("POST", rf"{_API}/paths-info/{_REVISION}", "paths_info"),
    ("POST", rf"{_API}/preupload/{_REVISION}", "preupload"),
    ("POST", rf"{_API}/commit/{_REVISION}", "commit"),
    ("POST", rf"{_WEB}\.git/info/lfs/objects/batch", "lfs_batch"),
    ("POST", rf"{_WEB}\.git/info/lfs/verify", "lfs_verify"),
    ("PUT", r"/lfs/(?P<oid>[0-9a-f]{64})", "lfs_upload"),
    ("GET HEAD", rf"{_WEB}/(?:resolve|raw)/{_REVISION}/(?P<path>.+)", "resolve"),
)


class HubServer(LoopbackServer):
    """The stand-in, to be used in a with statement; its one user has the token `token`."""

    def __init__(self, folder: Path, user: str = "newcomer"):
        super().__init__(HubHandler)
        self.user = user
        self.token = "hf_" + secrets.token_hex(17)
        self.signature = secrets.token_hex(16)
        self.repositories = Repositories(Path(folder), {self.token: user})

    def environment(self, home: Path, token: bool = True) -> dict[str, str]:
        """The environment of a process that is to take this server for the Hub.

        Args:
            home: folder for that process's caches.
            token: whether the process is logged in.

        Returns:
            This process's environment, changed.
        """
        environment = {
            name: value
            for name, value in os.environ.items()
            if name not in ("HF_HUB_OFFLINE", "HF_TOKEN", "HF_HUB_CACHE", "HF_DATASETS_CACHE")
        }
        environment.update(
            HF_ENDPOINT=self.url,
            HF_HOME=str(home),
            HF_HUB_DISABLE_XET="1",
            HF_HUB_DISABLE_TELEMETRY="1",
            # Otherwise `datasets` reports each load to a server of its makers.
            HF_UPDATE_DOWNLOAD_COUNTS="0",
            HF_HUB_DISABLE_PROGRESS_BARS="1",
            XDG_CACHE_HOME=str(home),
            NO_PROXY="127.0.0.1",
            no_proxy="127.0.0.1",
        )
        if token:
            environment["HF_TOKEN"] = self.token
        return environment
