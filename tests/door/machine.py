"""What a test changes of the machine under one server: its memory's limit, its clock, and its disk."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conftest import need, skip


@contextmanager
def memory_cgroup(limit: int) -> Iterator[Path]:
    """A group of its own with a limit, in the first version's hierarchy or the second's."""
    root = Path("/sys/fs/cgroup")
    second = "memory" in _read(root / "cgroup.subtree_control").split()
    group = root / ("" if second else "memory") / f"evensong-door-{os.getpid()}"
    try:
        group.mkdir()
        file = "memory.max" if second else "memory.limit_in_bytes"
        (group / file).write_text(str(limit))
        (group / "cgroup.procs").open("a").close()
    except OSError as error:
        if group.is_dir():
            group.rmdir()
        skip(f"a memory cgroup cannot be made here ({error.strerror})")
    try:
        yield group
    finally:
        # The last process may still be on its way out.
        for _ in range(100):
            try:
                group.rmdir()
                break
            except OSError:
                time.sleep(0.05)


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """A file system of its own that has room for `size` bytes."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        skip(f"a small disk cannot be had here ({error.strerror})")
    if mounted.returncode != 0:
        skip(f"a small disk cannot be had here ({mounted.stderr.strip()})")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _read(path: Path) -> str:
    return path.read_text() if path.is_file() else ""


def killed_for_memory(group: Path) -> int:
    said = _read(group / "memory.events") + _read(group / "memory.oom_control")
    return sum(int(count) for count in re.findall(r"^oom_kill (\d+)$", said, re.M))


class Clock:
    """A clock of the day that can be moved; programs that are started under it believe it."""

    def __init__(self, folder: Path):
        compiler, self.library = need("cc", "gcc"), folder / "clock.so"
        source = Path(__file__).with_name("clock.c")
        command = [compiler, "-O1", "-shared", "-fPIC", "-o", self.library, source]
        subprocess.run(command, check=True, timeout=30)
        self.file = folder / "clock"
        self.file.write_bytes(struct.pack("=q", 0))

    def move(self, seconds: int) -> None:
        """In place, since the file is mapped where it is."""
        with self.file.open("r+b") as file:
            file.write(struct.pack("=q", seconds))

    @property
    def environment(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self.library), "DOOR_CLOCK": str(self.file)}
