"""One run of wrk, and the kinds of runs that are made."""
import dataclasses
import json
import os
import pathlib
import subprocess
import time

import processes

HERE = pathlib.Path(__file__).resolve().parent


@dataclasses.dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    connections: int = 64
    upstream: str = ""          # "", "slow" or "tls": the suffix of the function and of the path
    payload: str = "swaig"
    calls: int = 1              # calls in one request
    function: str = ""          # the suffix of the function where it is not the upstream's

    @property
    def is_platform(self):
        return self.payload != "swaig"


SCENARIOS = [
    Scenario("c64", "64 connections"),
    Scenario("c1", "1 connection", connections=1),
    Scenario("c512", "512 connections", connections=512),
    Scenario("slow", "64 connections, 20 ms upstream", upstream="slow"),
    Scenario("tls", "64 connections, https upstream", upstream="tls"),
    Scenario("voicedock", "VoiceDock, 1 call", payload="voicedock"),
    Scenario("voicedock4", "VoiceDock, 4 calls in one request", payload="voicedock4", calls=4),
    Scenario("dailybots", "Daily Bots, stream", payload="dailybots", function="stream"),
    Scenario("millis", "Millis", payload="millis"),
]


class Load:
    """Sends requests with wrk from one CPU; keeps the bodies in `folder`."""

    def __init__(self, folder, cpu):
        self.folder, self.cpu, self.runs = folder, cpu, 0

    def body(self, scenario, function=None):
        """The file with the scenario's body, for this function or the scenario's own."""
        text = (HERE / "payloads" / f"{scenario.payload}.json").read_text().strip()
        function = function or "_".join(filter(None, ["order_status", scenario.function or scenario.upstream]))
        file = self.folder / f"{scenario.payload}-{function}.json"
        file.write_text(text.replace('"order_status"', f'"{function}"'))
        return file

    def run(self, peer, scenario, seconds, function=None):
        """The figures of one run: latencies, rates, errors, and the CPU time of the peer for each request."""
        self.runs += 1
        command = ["wrk", "-t1", f"-c{scenario.connections}", f"-d{seconds}s", "--timeout", "10s",
                   "-s", HERE / "load.lua"]
        for name, value in peer.headers.items():
            command += ["-H", f"{name}: {value}"]
        env = {**os.environ, "BENCH_BODY": str(self.body(scenario, function)), "BENCH_RUN": str(self.runs)}
        before = peer.cpu_seconds()
        done = subprocess.run([*command, peer.url(scenario)], env=env, capture_output=True, text=True,
                              timeout=seconds + 60, preexec_fn=processes.pinned(self.cpu))
        used = peer.cpu_seconds() - before
        lines = [line for line in done.stdout.splitlines() if line.startswith("BENCH ")]
        if not lines:
            raise RuntimeError(f"wrk failed: {(done.stdout + done.stderr).strip()[-400:]}")
        figures = json.loads(lines[0][6:])
        peer.empty_log()
        figures["at"] = time.time()
        figures["rps"] = figures["requests"] * 1e6 / figures["duration_us"]
        figures["cpu_us"] = used * 1e6 / max(figures["requests"], 1)
        figures["errors"] = figures["bad_status"] + figures["socket_errors"] + figures["timeouts"]
        return figures
