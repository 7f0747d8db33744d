"""What every test of the tasks shares: no cache of the user's, no network, tiny data sets."""

import dataclasses
import gzip
import hashlib
import http.server
import os
import socket
import threading
from pathlib import Path

import numpy as np
import pytest

from deqlab.tasks.files.dataset import Dataset
from deqlab.tasks.files.idx import IdxFile


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Send the cache to an empty folder, and return where the data sets go in it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))  # where macOS looks
    monkeypatch.delenv("DEQLAB_DATA", raising=False)
    return tmp_path / "cache" / "deqlab" / "data"


@pytest.fixture(autouse=True)
def loopback_only(monkeypatch):
    """Refuse every name but this machine's, as being offline would."""
    resolve = socket.getaddrinfo

    def refuse(host, *args, **kwargs):
        if host != "127.0.0.1":
            raise socket.gaierror(socket.EAI_NONAME, f"the tests are offline, asked for {host}")
        return resolve(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("no_proxy", "*")  # and no proxy may resolve it for us


def _folder_with(*names):
    shared = Path(__file__).parents[4] / "shared" / "data"
    folder = Path(os.environ.get("DEQLAB_DATA", shared))
    for name in names:
        if not (folder / name).is_dir():
            pytest.skip(f"needs {folder / name}: point DEQLAB_DATA at a folder that holds {name}/")
    return folder


@pytest.fixture(scope="session")
def real_data():
    """The folder with the real mnist and fashion_mnist, which no checkout holds."""
    return _folder_with("mnist", "fashion_mnist")


@pytest.fixture(scope="session")
def real_cifar10():
    """The folder with the real cifar10, which no checkout holds."""
    return _folder_with("cifar10")


@pytest.fixture(scope="session")
def real_text():
    """The folder with the real texts, which no checkout holds."""
    return _folder_with("text")


class Tiny:
    """A public image set called tiny: as MNIST, but of 30 + 10 images of 5 x 4 pixels."""

    names = ("train-images", "train-labels", "t10k-images", "t10k-labels")

    def __init__(self):
        rng = np.random.default_rng(0)
        images = [rng.integers(0, 256, size=(count, 5, 4), dtype=np.uint8) for count in (30, 10)]
        labels = [(np.arange(count) % 10).astype(np.uint8) for count in (30, 10)]
        self.items = (images[0], labels[0], images[1], labels[1])
        self.raw = {
            name: self.idx(items) for name, items in zip(self.names, self.items, strict=True)
        }

    @staticmethod
    def idx(items):
        """Encode unsigned bytes as IDX, by hand."""
        sizes = b"".join(size.to_bytes(4, "big") for size in items.shape)
        return bytes([0, 0, 0x08, items.ndim]) + sizes + items.tobytes()

    def source(self, *mirrors):
        files = tuple(
            IdxFile(name=name, sha256=hashlib.sha256(raw).hexdigest(), shape=items.shape)
            for (name, raw), items in zip(self.raw.items(), self.items, strict=True)
        )
        return Dataset(
            name="tiny",
            kind=tuple,
            splits={"train": 30, "test": 10},
            shape=(5, 4),
            num_classes=10,
            source="made here",
            licence="none",
            files=files,
            mirrors=mirrors,
            make=lambda _, *items: items,
        )

    def answers(self):
        return {f"/{name}.gz": gzip.compress(raw) for name, raw in self.raw.items()}

    def write(self, folder, *, gzipped=True):
        folder.mkdir(parents=True, exist_ok=True)
        for name, raw in self.raw.items():
            if gzipped:
                (folder / f"{name}.gz").write_bytes(gzip.compress(raw))
            else:
                (folder / name).write_bytes(raw)


@pytest.fixture(scope="session")
def tiny():
    return Tiny()


@dataclasses.dataclass
class Mirror:
    """A server on this machine: what it answers to each path, else 404; what it was asked."""

    url: str
    answers: dict[str, bytes]
    requests: list[str] = dataclasses.field(default_factory=list)


@pytest.fixture
def make_mirror():
    """Start servers that may send `short_by` bytes less than their Content-Length says."""
    servers = []

    def start(answers, *, short_by=0):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                mirror.requests.append(self.path)
                body = mirror.answers.get(self.path)
                if body is None:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: len(body) - short_by])

            def log_message(self, *args):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        mirror = Mirror(url=f"http://127.0.0.1:{server.server_port}/", answers=answers)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        servers.append((server, thread))
        return mirror

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def closed_port():
    """An address on this machine where nobody listens: what offline looks like."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return f"http://127.0.0.1:{port}/"
