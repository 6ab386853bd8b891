"""Benchmarks Jackfield against nginx and hand-written handlers: `scripts/bench --help`."""
import argparse
import json
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import install
import processes
import report
import scale
from install import say
from load import SCENARIOS, Load
from peers import ROOT, TITLES, Bench

DESCRIPTION = """Benchmark Jackfield against nginx and hand-written handlers that do the same work, over loopback, in one run.
docs/performance.md explains the method and the figures."""


def options():
    cache = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    parser = argparse.ArgumentParser(prog="scripts/bench", description=DESCRIPTION,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--quick", action="store_true", help="measure CPU ratios only: direct, nginx, jackfield and lean, 2 rounds of 3 s")
    add("--scale", action="store_true", help="measure tables of 10, 1,000 and 10,000 routes instead")
    add("--routes", default="10,1000,10000", metavar="N,...", help="the tables of --scale (default: %(default)s)")
    add("--binary", action="append", metavar="[NAME=]PATH",
        help="a Jackfield binary; repeat it to compare builds (default: build the dist profile)")
    add("--peers", metavar="NAME,...", help=f"peers to measure (default: all of {', '.join(TITLES)})")
    add("--scenarios", metavar="NAME,...", help=f"scenarios to run (default: all of {', '.join(s.name for s in SCENARIOS)})")
    add("--rounds", type=int, help="alternating rounds (default: 3)")
    add("--seconds", type=int, help="length of each run at 64 connections; the other runs are shorter (default: 5)")
    add("--proxy-cpu", type=int, default=0, metavar="N", help="CPU of the proxies (default: %(default)s)")
    add("--load-cpu", type=int, default=1, metavar="N", help="CPU of wrk and of the upstream (default: %(default)s)")
    add("--base-port", type=int, metavar="PORT", help="use the ports from here on (default: free ones)")
    add("--cache", type=pathlib.Path, default=pathlib.Path(cache, "jackfield-bench"), metavar="DIR",
        help="where the peers are installed (default: %(default)s)")
    add("--no-install", action="store_true", help="don't install Debian packages")
    add("--json", metavar="FILE", help="also write every single run to FILE")
    args = parser.parse_args()
    args.rounds = args.rounds or (2 if args.quick else 3)
    args.seconds = args.seconds or (3 if args.quick else 5)
    args.peers = chosen(parser, args.peers, list(TITLES), ["direct", "nginx", "jackfield", "lean"] if args.quick else None)
    names = chosen(parser, args.scenarios, [s.name for s in SCENARIOS], ["c64"] if args.quick else None)
    args.scenarios = [s for s in SCENARIOS if s.name in names]
    args.cache = args.cache.expanduser().absolute()
    if args.cache.is_relative_to(ROOT):
        parser.error(f"the cache {args.cache} is inside the repository; choose another with --cache")
    return args


def chosen(parser, text, known, default):
    names = text.split(",") if text else default or known
    for name in names:
        if name not in known:
            parser.error(f"unknown name `{name}`; known: {', '.join(known)}")
    return [name for name in known if name in names]


def binaries(args):
    """The Jackfield binaries as (title, path)."""
    if not args.binary:
        say("building the dist profile (several minutes the first time)")
        command = ["cargo", "build", "--locked", "--profile", "dist", "--bin", "jackfield",
                   "--message-format", "json-render-diagnostics"]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
        built = [json.loads(line).get("executable") for line in done.stdout.splitlines()]
        return [("Jackfield", pathlib.Path([path for path in built if path][-1]))]
    found = []
    for number, text in enumerate(args.binary, 1):
        title, _, path = text.rpartition("=")
        path = pathlib.Path(path).absolute()
        if not os.access(path, os.X_OK):
            sys.exit(f"error: {path} is not a program")
        found.append((title or ("Jackfield" if len(args.binary) == 1 else f"Jackfield {number}"), path))
    return found


def compare(bench, load, args, builds, cpu):
    """Starts everybody, runs the rounds, and returns who took part and who is missing."""
    peers, missing = bench.peers(args.peers, builds)
    upstream = bench.upstream(load.cpu)
    try:
        for peer in list(peers):
            try:
                start(peer, load, args, cpu)
            except (RuntimeError, OSError) as error:
                missing.append((peer.title, f"{error} {tail(peer.log)}"))
                peer.stop()
                peers.remove(peer)
        for number in range(args.rounds):
            for scenario in args.scenarios:
                # Every second round goes backwards, so that a drift of the machine favours nobody.
                for peer in peers if number % 2 == 0 else reversed(peers):
                    if peer.platforms or not scenario.is_platform:
                        run(peer, load, scenario, number, args)
        for peer in peers:
            peer.peak_mib = peer.memory_mib("VmHWM")
    finally:
        for peer in peers:
            peer.stop()
        processes.stop(upstream)
    return peers, missing


def start(peer, load, args, cpu):
    """Starts a peer, several times for the time that takes, and checks its answers."""
    for _ in range(1 if args.quick else 5):
        peer.stop()
        peer.start(cpu)
    time.sleep(0.3)
    peer.idle_mib = peer.memory_mib("VmRSS")
    for scenario in args.scenarios:
        if peer.platforms or not scenario.is_platform:
            peer.check(scenario, load.body(scenario))


def run(peer, load, scenario, number, args):
    seconds = args.seconds if scenario.name == "c64" else max(2, args.seconds * 3 // 5)
    # Warms up pools, caches and just-in-time compilers.
    load.run(peer, scenario, 3 if number == 0 and scenario.name == "c64" else 1)
    figures = load.run(peer, scenario, seconds)
    peer.runs.setdefault(scenario.name, []).append(figures)
    say(f"round {number + 1}  {scenario.name:10}  {peer.name:24}  {figures['rps']:8.0f} req/s  "
        f"{figures['cpu_us']:7.1f} us  p50 {figures['p50_us'] / 1000:.2f} ms  p99 {figures['p99_us'] / 1000:.2f} ms"
        + (f"  {figures['errors']} errors" if figures["errors"] else ""))


def stolen(begun):
    """The share of CPU time since `begun` that the host of a virtual machine gave to others."""
    total, lost = (now - then for now, then in zip(processes.cpu_ticks(), begun))
    return lost / max(total, 1)


def tail(log):
    return log.read_text(errors="replace").strip()[-400:] if log and log.exists() else ""


def main():
    args = options()
    # So that SIGTERM ends the run as Ctrl-C does, with what was started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.environ["PATH"] += os.pathsep + "/usr/sbin" + os.pathsep + str(pathlib.Path.home() / ".cargo/bin")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if not args.no_install:
        install.packages(args.peers)
    for command in ("wrk", "nginx"):
        if not shutil.which(command):
            sys.exit(f"error: there is no `{command}`; install it with your system's packages")
    args.cache.mkdir(parents=True, exist_ok=True)
    builds = binaries(args) if args.scale or {"jackfield", "lean"} & set(args.peers) else []
    cpus = os.sched_getaffinity(0)
    cpu, load_cpu = (args.proxy_cpu, args.load_cpu) if {args.proxy_cpu, args.load_cpu} <= cpus else (None, None)
    with tempfile.TemporaryDirectory(prefix="jackfield-bench-") as folder:
        os.chmod(folder, 0o755)  # nginx's workers run as another user
        bench = Bench(pathlib.Path(folder), args.cache, args.base_port)
        load = Load(bench.run, load_cpu)
        for scenario in [s for s in args.scenarios if not bench.offers(s)]:
            needs = {"tls": "openssl", "slow": "nginx's echo module"}[scenario.upstream]
            say(f"skipping {scenario.name}: there is no {needs}")
            args.scenarios.remove(scenario)
        results = report.machine(builds, cpu, load_cpu)
        begun = processes.cpu_ticks()
        if args.scale:
            sizes = [int(size) for size in args.routes.split(",")]
            results["scale"] = scale.measure(bench, load, builds, sizes, args.seconds, cpu)
            results["stolen"] = stolen(begun)
            report.print_scale(results)
        else:
            peers, missing = compare(bench, load, args, builds, cpu)
            shipped = {} if args.quick else scale.shipped(bench, builds, cpu)
            results["stolen"] = stolen(begun)
            report.print_all(results, peers, missing, args, shipped)
            results.update(report.as_json(peers, missing, shipped))
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
