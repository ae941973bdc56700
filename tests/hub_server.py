"""A Hub on localhost: the routes of model and data set info, resolve, tags, LFS upload and commits, as huggingface_hub
asks them. A data set is a repository whose name here begins with `datasets/`.

Small files travel inside the commit, `.safetensors` and `.parquet` through the LFS batch route, and their resolve
route redirects to another one, as on the real Hub. Xet, the real Hub's newer storage, is not imitated.
"""

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

REPOSITORY = "((?:models|datasets)/[^/]+/[^/]+)"


def named(path: str) -> str:
    """A repository's name here, by its path behind `/api/`."""
    return path.removeprefix("models/")


class HubServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects: dict[str, bytes] = {}  # LFS storage by sha256
        self.repositories: dict[str, dict[str, str]] = {}  # repository -> branch or tag -> commit
        self.commits: dict[str, dict[str, tuple[str, bytes | str]]] = {}  # commit -> path -> ("lfs", sha256) or bytes
        self.log: list[str] = []
        self.num_cuts = 0  # this many of the next downloads from storage break off in the middle
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def storage_address(self) -> str:
        """Another host's name for the same server: to another host a redirect is not followed blindly."""
        return f"http://localhost:{self.server_address[1]}"

    def find_commit(self, repository: str, revision: str) -> str | None:
        return self.repositories[repository].get(revision, revision if revision in self.commits else None)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HubServer

    def log_message(self, *_args):
        pass

    def answer(self, status: int, value=None, data: bytes | None = None, **headers: str) -> None:
        body = json.dumps(value).encode() if data is None else data
        self.send_response(status)
        for name, text in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def read_body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def do_GET(self):
        path = unquote(urlsplit(self.path).path)
        self.server.log.append(f"{self.command} {path} {self.headers.get('Range', '')}".strip())
        if match := re.fullmatch(r"/storage/(\w+)", path):
            self.send_object(self.server.objects[match[1]])
        elif match := re.fullmatch(rf"/api/{REPOSITORY}(?:/revision/(.+))?", path):
            self.send_info(named(match[1]), match[2] or "main")
        elif match := re.fullmatch(rf"/api/{REPOSITORY}/tree/([^/]+)", path):
            self.send_tree(named(match[1]), match[2])
        elif match := re.fullmatch(r"/((?:datasets/)?[^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self.send_file(*match.groups())
        else:
            self.answer(404, {"error": "unknown route"})

    do_HEAD = do_GET

    def send_info(self, repository: str, revision: str) -> None:
        if repository not in self.server.repositories:
            return self.answer(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
        commit = self.server.find_commit(repository, revision)
        if commit is None:
            return self.answer(404, {"error": "Invalid rev id"}, X_Error_Code="RevisionNotFound")
        siblings = [{"rfilename": path} for path in self.server.commits[commit]]
        info = {"id": repository, "modelId": repository, "sha": commit, "private": False, "tags": []}
        return self.answer(200, {**info, "siblings": siblings, "pipeline_tag": "audio-to-audio"})

    def send_tree(self, repository: str, revision: str) -> None:
        entries = []
        for path, (kind, content) in self.server.commits[self.server.find_commit(repository, revision)].items():
            if kind == "file":
                entries.append({"oid": hashlib.sha1(content).hexdigest(), "size": len(content)})
            else:
                size = len(self.server.objects[content])
                pointer = {"oid": content, "size": size, "pointerSize": 130}
                entries.append({"oid": hashlib.sha1(content.encode()).hexdigest(), "size": size, "lfs": pointer})
            entries[-1].update(type="file", path=path)
        self.answer(200, entries)

    def send_file(self, repository: str, revision: str, path: str) -> None:
        if repository not in self.server.repositories:
            return self.answer(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
        commit = self.server.find_commit(repository, revision)
        if commit is None:
            return self.answer(404, {"error": "Invalid rev id"}, X_Error_Code="RevisionNotFound")
        if path not in self.server.commits[commit]:
            return self.answer(404, {"error": "Entry not found"}, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
        kind, content = self.server.commits[commit][path]
        if kind == "file":
            etag = f'"{hashlib.sha1(content).hexdigest()}"'
            return self.answer(200, data=content, ETag=etag, X_Repo_Commit=commit)
        size = str(len(self.server.objects[content]))
        headers = {"X_Linked_Etag": f'"{content}"', "X_Linked_Size": size, "X_Repo_Commit": commit}
        return self.answer(302, data=b"", Location=f"{self.server.storage_address}/storage/{content}", **headers)

    def send_object(self, content: bytes) -> None:
        start = int(re.match(r"bytes=(\d+)-", self.headers.get("Range", "bytes=0-"))[1])
        headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"'}
        if start:
            headers["Content_Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        body = content[start:]
        if self.command == "GET" and self.server.num_cuts:
            self.server.num_cuts -= 1
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
            return
        self.answer(206 if start else 200, data=body, **headers)

    def do_PUT(self):
        body = self.read_body()
        self.server.log.append(f"PUT {self.path}")
        self.server.objects[hashlib.sha256(body).hexdigest()] = body
        self.answer(200, {})

    def do_POST(self):
        path, body = unquote(urlsplit(self.path).path), self.read_body()
        self.server.log.append(f"POST {path}")
        if path == "/api/repos/create":
            wanted = json.loads(body)
            repository = f"{wanted.get('organization') or 'someone'}/{wanted['name']}"
            repository = f"datasets/{repository}" if wanted.get("type") == "dataset" else repository
            address = {"url": f"{self.server.address}/{repository}", "name": repository.removeprefix("datasets/")}
            status = 409 if repository in self.server.repositories else 200
            if status == 200:
                self.server.repositories[repository] = {"main": self.add_commit({})}
            self.answer(status, address)
        elif path == "/api/validate-yaml":
            self.answer(200, {"errors": [], "warnings": []})
        elif re.fullmatch(rf"/api/{REPOSITORY}/preupload/.+", path):
            modes = [
                (file["path"], file["path"].endswith((".safetensors", ".parquet")))
                for file in json.loads(body)["files"]
            ]
            files = [
                {"path": name, "uploadMode": "lfs" if is_lfs else "regular", "shouldIgnore": False, "oid": None}
                for name, is_lfs in modes
            ]
            self.answer(200, {"files": files})
        elif path.endswith(".git/info/lfs/objects/batch"):
            objects = [
                {**entry, "actions": {"upload": {"href": f"{self.server.address}/storage/{entry['oid']}"}}}
                for entry in json.loads(body)["objects"]
            ]
            self.answer(200, {"transfer": "basic", "objects": objects})
        elif match := re.fullmatch(rf"/api/{REPOSITORY}/commit/(.+)", path):
            self.receive_commit(named(match[1]), match[2], body)
        elif match := re.fullmatch(rf"/api/{REPOSITORY}/tag/(.+)", path):
            references = self.server.repositories[named(match[1])]
            references[json.loads(body)["tag"]] = references[match[2]]
            self.answer(200, {})
        else:
            self.answer(404, {"error": "unknown route"})

    def receive_commit(self, repository: str, branch: str, body: bytes) -> None:
        references = self.server.repositories[repository]
        files = dict(self.server.commits[references[branch]])
        for line in body.splitlines():
            operation = json.loads(line)
            value = operation["value"]
            if operation["key"] == "file":
                files[value["path"]] = ("file", base64.b64decode(value["content"]))
            elif operation["key"] == "lfsFile":
                if value["oid"] not in self.server.objects:
                    return self.answer(400, {"error": f"{value['path']}: was not uploaded"})
                files[value["path"]] = ("lfs", value["oid"])
            elif operation["key"] == "deletedFile":
                del files[value["path"]]
        references[branch] = self.add_commit(files)
        oid = references[branch]
        return self.answer(200, {"commitUrl": f"{self.server.address}/{repository}/commit/{oid}", "commitOid": oid})

    def add_commit(self, files: dict) -> str:
        number = len(self.server.commits)
        commit = hashlib.sha1(str(number).encode()).hexdigest()
        self.server.commits[commit] = files
        return commit
