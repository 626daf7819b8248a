"""The door from outside: hostile clients against the real server, a neighbour always beside them.

EVENSONG_BIN names the binary; Linux only, since what is asked of /proc is half of each test. A test
that cannot run here says why, also in the file that EVENSONG_SKIPS names. Every test starts servers
of its own on free ports of 127.0.0.1, so that one attack's traces are never taken for another's.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest


@pytest.fixture(scope="session", autouse=True)
def open_files() -> None:
    """Attackers need descriptors, too; servers that are to have few are given few."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@pytest.fixture(scope="session", autouse=True)
def binary() -> None:
    if not os.access(os.environ.get("EVENSONG_BIN", ""), os.X_OK):
        pytest.fail("EVENSONG_BIN must name the server's binary; scripts/test sets it")


def skip(reason: str) -> NoReturn:
    if skips := os.environ.get("EVENSONG_SKIPS"):
        with open(skips, "a", encoding="utf-8") as file:
            file.write(f"the door: {reason}\n")
    pytest.skip(reason)


def need(program: str, package: str) -> str:
    """The path of `program`, or the end of the test."""
    if not (path := shutil.which(program)):
        skip(f"{program} is not installed (Debian: {package})")
    return path


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for localhost that nobody signed, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [
            need("openssl", "openssl"), "req", "-x509", "-nodes", "-newkey", "ec",
            "-pkeyopt", "ec_paramgen_curve:P-256", "-days", "2", "-subj", "/CN=localhost",
            "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
            "-keyout", key, "-out", certificate,
        ],
        check=True, capture_output=True, timeout=20,
    )  # fmt: skip
    return certificate, key
