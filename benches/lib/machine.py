"""What Linux says of the server: CPU time, memory, and its side of the kernel's socket buffers."""

from __future__ import annotations

import os
import re
import resource
import subprocess
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Memory:
    """Bytes of the server and its workers."""

    # Proportional set size: pages that several processes share are counted once in all.
    pss: int
    # Resident set size, each process by itself.
    server_rss: int
    workers_rss: int
    # Pages of its own that were written to, which is what nobody else could give back.
    private_dirty: int = 0

    @property
    def rss(self) -> int:
        return self.server_rss + self.workers_rss


@dataclass(frozen=True)
class Resident:
    """Bytes of one process: all that is resident, and what of it is no file's."""

    whole: int
    anonymous: int


def raise_open_files() -> None:
    """As many descriptors as the system lets us have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def children(parent: int) -> list[int]:
    """The living child processes of `parent`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            stat = _stat(int(entry.name))
            # A process that ended but was not waited for yet is a zombie, and no child to speak of.
            if stat and int(stat[1]) == parent and stat[0] != "Z":
                found.append(int(entry.name))
    return found


def cpu_seconds(server: int) -> float:
    """CPU time so far of the server, of its living workers and of those that it has waited for."""
    # Behind the name: state is field 0, utime, stime, cutime and cstime are 11 to 14 (proc(5)).
    ticks = sum(int(field) for field in (_stat(server) or ["0"] * 15)[11:15])
    for worker in children(server):
        ticks += sum(int(field) for field in (_stat(worker) or ["0"] * 15)[11:13])
    return ticks / _TICKS


def busy_seconds() -> float:
    """CPU time that anything on this machine has had so far: all of proc(5)'s but idle and iowait."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / _TICKS


def others_seconds() -> float:
    """CPU time of whatever is not ours: a figure that was taken beside much of it says little. Processes of ours count
    when they have ended, as all have between two parts of a bench."""
    ours = os.times()
    return busy_seconds() - sum(ours[:4])


def memory(server: int) -> Memory:
    """The memory of the server and its living workers."""
    own, workers = _rollup(server), [_rollup(worker) for worker in children(server)]
    return Memory(
        pss=own["Pss"] + sum(worker["Pss"] for worker in workers),
        server_rss=own["Rss"],
        workers_rss=sum(worker["Rss"] for worker in workers),
        private_dirty=own["Private_Dirty"] + sum(worker["Private_Dirty"] for worker in workers),
    )


def resident(pid: int) -> Resident:
    """VmRSS and RssAnon of one process; zeros when it has ended."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        text = ""
    kib = {name: int(value) for name, value in re.findall(r"^(VmRSS|RssAnon):\s+(\d+) kB", text, re.M)}
    return Resident(kib.get("VmRSS", 0) * 1024, kib.get("RssAnon", 0) * 1024)


def socket_bytes(port: int) -> int:
    """Kernel memory of the sockets whose local port is the server's, in any state.

    Of what `ss -m` shows (sock_diag(7)), memory that exists is
      r   the receive queue's buffers, with their overhead
      w   the send queue's: what was not sent yet, and what was sent and not acknowledged
      o   socket options
      bl  the backlog: packets that came while the socket was in use.
    Not counted: rb and tb are limits; f is a quota taken in advance, no memory; d counts drops.
    t is what was handed to the device and not freed: for TCP these are clones that share their
    bytes with w, so the two are not added; the larger one counts, in case w has let go first.
    The structures behind a socket (about 4 KiB with its file and inode) are not shown anywhere.
    """
    return _memory_of_sockets(f"sport = :{port}")


def socket_bytes_towards(port: int) -> int:
    """The same of the sockets whose other side is at `port`."""
    return _memory_of_sockets(f"dport = :{port}")


def connections(port: int) -> int:
    """Established connections whose local port this is."""
    return len(_sockets("state", "established", f"sport = :{port}").splitlines())


def connections_towards(port: int) -> set[str]:
    """Our ends of established connections whose other side is at `port`."""
    # With a state given, ss leaves its column out: two queues, then our end.
    return {line.split()[2] for line in _sockets("state", "established", f"dport = :{port}").splitlines()}


def _memory_of_sockets(which: str) -> int:
    total = 0
    for shown in re.findall(r"skmem:\(([^)]*)\)", _sockets("--all", "--memory", which)):
        fields = {name: int(value) for name, value in re.findall(r"([a-z]+)(\d+)", shown)}
        total += fields["r"] + max(fields["w"], fields["t"]) + fields["o"] + fields["bl"]
    return total


def _sockets(*which: str) -> str:
    """One line a socket, as ss(8) shows it."""
    command = ["ss", "--tcp", "--numeric", "--oneline", "--no-header", *which]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout
    except FileNotFoundError:
        raise SystemExit("ss is not there: install iproute2") from None


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat behind the name, which may hold anything."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def _rollup(pid: int) -> dict[str, int]:
    """The sums over a process's mappings, in bytes; nothing for one that has just ended."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        text = ""
    sums = {name: int(kib) * 1024 for name, kib in re.findall(r"^(\w+):\s+(\d+) kB", text, re.M)}
    return {"Pss": 0, "Rss": 0, "Private_Dirty": 0} | sums
