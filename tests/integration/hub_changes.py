"""The routes of the Hub stand-in that change a repository: checks, LFS uploads, commits."""

import base64
import fnmatch
import json

from hub_cards import read_card
from hub_repositories import LARGE_FILES, RefusedError, StoredFile, flag

# The Hub takes files up to this size within a commit; larger ones go through LFS.
INLINE_LIMIT = 10 << 20


class Changes:
    """Mixed into the handler of the stand-in, which says who asks and how to answer."""

    def validate(self):
        _, errors, warnings = read_card(self._json_body()["content"])
        body = {
            "errors": [{"message": error} for error in errors],
            "warnings": [{"message": warning} for warning in warnings],
        }
        self.send_json(body, 400 if errors else 200)

    def preupload(self, kind, name, revision):
        commit = self._writable(kind, name).resolve(revision)
        answers = []
        for file in self._json_body()["files"]:
            path, known = file["path"], commit.files.get(file["path"])
            pattern_found = any(
                fnmatch.fnmatch(path.split("/")[-1], pattern) for pattern in LARGE_FILES
            )
            # The Hub takes no binary content within a commit, whatever its name.
            binary = b"\0" in base64.b64decode(file.get("sample", ""))
            large = pattern_found or binary or file["size"] > INLINE_LIMIT
            answer = {"path": path, "uploadMode": "lfs" if large else "regular"}
            answer["shouldIgnore"] = False
            if known is not None:
                answer["oid"] = known.tag
            answers.append(answer)
        self.send_json({"files": answers, "commitOid": commit.oid})

    def lfs_batch(self, name, kinds=""):
        self._writable(kinds.removesuffix("s/") or "model", name)
        objects = []
        for wanted in self._json_body()["objects"]:
            answer = {"oid": wanted["oid"], "size": wanted["size"]}
            if not self.server.repositories.store.path(wanted["oid"]).is_file():
                address = f"{self.server.url}/lfs/{wanted['oid']}"
                upload = f"{address}?signature={self.server.signature}"
                verify = f"{self.server.url}/{kinds}{name}.git/info/lfs/verify"
                answer["actions"] = {"upload": {"href": upload}, "verify": {"href": verify}}
            objects.append(answer)
        self.send_json({"transfer": "basic", "objects": objects})

    def lfs_upload(self, oid):
        # The Hub's addresses for uploads are signed and need no token.
        if self.query.get("signature") != self.server.signature:
            raise RefusedError(403, "The address is not signed")
        self.server.repositories.store.add(self.blocks(), expected=oid)
        self.send_head(200, {"ETag": f'"{oid}"'}, 0)

    def lfs_verify(self, name, kinds=""):
        self._writable(kinds.removesuffix("s/") or "model", name)
        body = self._json_body()
        file = self.server.repositories.store.large_file(body["oid"])
        if file.size != body["size"]:
            raise RefusedError(
                422, f"{body['oid']} has {file.size} bytes, announced: {body['size']}"
            )
        self.send_json({})

    def commit(self, kind, name, revision):
        repository = self._writable(kind, name)
        if flag(self.query.get("create_pr", "")):
            raise RefusedError(501, "The stand-in has no pull requests")
        lines = [json.loads(line) for line in self.body().splitlines() if line.strip()]
        header = next(line["value"] for line in lines if line["key"] == "header")
        with self.server.repositories.lock:
            if revision not in repository.branches:
                raise RefusedError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
            parent = repository.resolve(revision)
            if not parent.oid.startswith(header.get("parentCommit") or ""):
                raise RefusedError(412, "A commit has happened since. Refresh and try again.")
            files = dict(parent.files)
            for line in lines:
                self._apply(line["key"], line["value"], files)
            commit = repository.commit(
                revision, files, header["summary"], header.get("description", "")
            )
        path = f"{'' if kind == 'model' else kind + 's/'}{name}/commit/{commit.oid}"
        url = f"{self.server.url}/{path}"
        self.send_json(
            {"success": True, "commitOid": commit.oid, "commitUrl": url, "hookOutput": ""}
        )

    def _apply(self, key: str, value: dict, files: dict[str, StoredFile]) -> None:
        store = self.server.repositories.store
        if key == "file":
            content = value["content"]
            encoded = value.get("encoding", "utf-8") == "base64"
            content = base64.b64decode(content) if encoded else content.encode()
            if b"\0" in content[:512]:
                raise RefusedError(400, f"{value['path']}: binary files go through LFS")
            files[value["path"]] = store.small_file(content)
        elif key == "lfsFile":
            files[value["path"]] = store.large_file(value["oid"])
        elif key == "deletedFile":
            if files.pop(value["path"], None) is None:
                raise RefusedError(400, f"{value['path']} cannot be deleted: it does not exist")
        elif key == "deletedFolder":
            for path in [
                path for path in files if path.startswith(value["path"].rstrip("/") + "/")
            ]:
                del files[path]
        elif key != "header":
            raise RefusedError(400, f"unknown operation {key}")
