"""Processes of the comparison: starting and ending them, their CPU time and memory."""
import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import time

TICKS = os.sysconf("SC_CLK_TCK")


def tree(pid):
    """The process and all its descendants."""
    children = {}
    for entry in os.listdir("/proc"):
        with contextlib.suppress(OSError, ValueError):
            children.setdefault(int(_stat(int(entry))[1]), []).append(int(entry))
    found, waiting = [], [pid]
    while waiting:
        found.append(waiting.pop())
        waiting += children.get(found[-1], [])
    return found


def cpu_seconds(pid):
    """User and system time of the process tree, with that of children that have ended."""
    ticks = 0
    for each in tree(pid):
        with contextlib.suppress(OSError):
            ticks += sum(map(int, _stat(each)[11:15]))
    return ticks / TICKS


def cpu_ticks():
    """The time of all CPUs so far, and the part of it that the host of a virtual machine gave to others, in ticks."""
    fields = [int(field) for field in pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return sum(fields), fields[7]


def memory_mib(pid, field):
    """`VmRSS` (now) or `VmHWM` (the most so far), summed over the process tree."""
    kib = 0
    for each in tree(pid):
        with contextlib.suppress(OSError):
            for line in pathlib.Path(f"/proc/{each}/status").read_text().splitlines():
                if line.startswith(field + ":"):
                    kib += int(line.split()[1])
    return kib / 1024


def _stat(pid):
    """The fields of /proc/PID/stat from the state on; the name before it may hold spaces."""
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()


def pinned(cpu):
    """For `preexec_fn`: pins the new process to a CPU, or leaves it free where that is None."""
    return None if cpu is None else lambda: os.sched_setaffinity(0, {cpu})


def start(command, log, cpu=None, env=None, cwd=None):
    """Starts a command whose output goes to the file `log`."""
    # Appending, so that the file can be emptied while the process runs.
    with open(log, "ab") as output:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=cwd,
                                env={**os.environ, **(env or {})}, start_new_session=True, preexec_fn=pinned(cpu))


def stop(process):
    """Ends a process that `start` started, and its descendants."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        for each in reversed(tree(process.pid)):
            with contextlib.suppress(OSError):
                os.kill(each, how)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)


def wait_until_ready(process, port, limit=60):
    """Waits for the first answer to a GET, whatever its status, and returns the seconds that took."""
    began = time.monotonic()
    while time.monotonic() - began < limit:
        if process.poll() is not None:
            raise RuntimeError(f"it ended with {process.returncode}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as connection:
            connection.settimeout(5)
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            if connection.recv(1):
                return time.monotonic() - began
        time.sleep(0.0005)
    raise RuntimeError(f"no answer on port {port} within {limit} s")


class Ports:
    """Gives out ports: from `base` on, or free ones where it is None."""

    def __init__(self, base=None):
        self.next, self.held = base, []

    def take(self):
        if self.next is not None:
            self.next += 1
            return self.next - 1
        # Held until `release`, so that no two are the same.
        self.held.append(socket.socket())
        self.held[-1].bind(("127.0.0.1", 0))
        return self.held[-1].getsockname()[1]

    def release(self):
        for held in self.held:
            held.close()
        self.held = []
