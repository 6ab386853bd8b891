"""Tables of the figures, the ratios within the run, and the targets."""
import os
import pathlib
import platform
import statistics
import time

from load import SCENARIOS


def machine(builds, cpu, load_cpu):
    model = [line.split(":")[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
             if line.startswith("model name")]
    return {"date": time.strftime("%Y-%m-%d %H:%M"), "cpu": model[0] if model else platform.machine(),
            "cpus": os.cpu_count(), "kernel": platform.release(), "load": os.getloadavg()[0],
            "pinned": f"proxy on CPU {cpu}, load and upstream on CPU {load_cpu}" if cpu is not None else "no CPU pinning",
            "binaries": {title: {"path": str(path), "mib": path.stat().st_size / 2**20} for title, path in builds}}


def table(title, head, rows):
    """Prints a Markdown table; None is a dash."""
    rows = [["-" if cell is None else cell for cell in row] for row in rows]
    if not rows:
        return
    width = [max(len(str(row[column])) for row in [head] + rows) for column in range(len(head))]
    print(f"\n### {title}\n")
    for number, row in enumerate([head] + rows):
        cells = [str(cell).ljust(w) if i == 0 else str(cell).rjust(w) for i, (cell, w) in enumerate(zip(row, width))]
        print(f"| {' | '.join(cells)} |")
        if number == 0:
            print(f"|{'|'.join('-' * (w + 1) + ('-' if i == 0 else ':') for i, w in enumerate(width))}|")


def number(value, digits=1):
    return None if value is None else f"{value:,.{digits}f}"


def ratio(peer, base, scenario, figure):
    """The median over the rounds of a figure against that of `base` in the same round."""
    if not base or scenario not in peer.runs or scenario not in base.runs:
        return None
    pairs = [(mine[figure], other[figure]) for mine, other in zip(peer.runs[scenario], base.runs[scenario])]
    return statistics.median(mine / other for mine, other in pairs) if all(other for _, other in pairs) else None


def difference(peer, base, scenario, figure):
    if not base or scenario not in peer.runs or scenario not in base.runs:
        return None
    return statistics.median(m[figure] - b[figure] for m, b in zip(peer.runs[scenario], base.runs[scenario]))


def milliseconds(peer, scenario, less=0):
    return [number(peer.median(scenario, figure) / 1000 - less, 2) for figure in ("p50_us", "p99_us", "p999_us")]


def print_machine(results):
    print(f"# Comparison of {results['date']}\n\n{results['cpu']}, {results['cpus']} CPUs, Linux {results['kernel']}, "
          f"load average {results['load']:.2f} at the start; {results['pinned']}.")
    if results["stolen"] >= 0.001:
        print(f"The host of this virtual machine gave {results['stolen']:.1%} of the CPU time to others, which delays answers.")
    for title, binary in results["binaries"].items():
        print(f"{title}: {binary['path']}, {binary['mib']:.1f} MiB.")


def print_all(results, peers, missing, args, shipped):
    print_machine(results)
    print(f"Medians of {args.rounds} alternating rounds. CPU is user and system time of the process tree.")
    for title, why in missing:
        print(f"Missing: {title} ({why.strip()})")
    by_name = {peer.name: peer for peer in peers}
    direct, nginx = by_name.get("direct"), by_name.get("nginx")
    ours = [peer for peer in peers if peer.platforms]

    def took_part(scenario):
        return [peer for peer in peers if scenario in peer.runs]

    def cost(peer, scenario):
        """CPU and its ratio to nginx; none for the upstream itself."""
        if peer is direct:
            return [None, None]
        return [number(peer.median(scenario, "cpu_us")), number(ratio(peer, nginx, scenario, "cpu_us"), 2)]

    def spread(peer):
        used = [run["cpu_us"] for run in peer.runs["c64"]]
        return None if peer is direct else f"{min(used):.1f}-{max(used):.1f}"

    percentiles = ["p50 ms", "p99 ms", "p99.9 ms"]
    table("64 connections, saturated",
          ["", "CPU us/call", "x nginx", "CPU min-max", "req/s", *percentiles, "p99/p50", "errors"],
          [[peer.title, *cost(peer, "c64"), spread(peer), number(peer.median("c64", "rps"), 0),
            *milliseconds(peer, "c64"), number(peer.median("c64", "p99_us") / peer.median("c64", "p50_us"), 2),
            sum(run["errors"] for runs in peer.runs.values() for run in runs)] for peer in took_part("c64")])
    table("1 connection",
          ["", "p50 us", "p99 us", "p99.9 us", "added p50 us", "added p99 us", "p50 x nginx", "p99 x nginx"],
          [[peer.title, *[number(peer.median("c1", f), 0) for f in ("p50_us", "p99_us", "p999_us")],
            *[number(difference(peer, direct, "c1", f), 0) for f in ("p50_us", "p99_us")],
            *[number(ratio(peer, nginx, "c1", f), 2) for f in ("p50_us", "p99_us")]] for peer in took_part("c1")])
    table("512 connections", ["", "CPU us/call", "x nginx", "req/s", *percentiles],
          [[peer.title, *cost(peer, "c512"), number(peer.median("c512", "rps"), 0), *milliseconds(peer, "c512")]
           for peer in took_part("c512")])
    table("20 ms upstream, 64 connections: ms above 20 ms",
          ["", "req/s", *percentiles, "p50 above direct", "p99 above direct"],
          [[peer.title, number(peer.median("slow", "rps"), 0), *milliseconds(peer, "slow", 20),
            *[number(scaled(difference(peer, direct, "slow", f), 1000), 2) for f in ("p50_us", "p99_us")]]
           for peer in took_part("slow")])
    table("https upstream, 64 connections", ["", "CPU us/call", "x nginx", "req/s", *percentiles],
          [[peer.title, *cost(peer, "tls"), number(peer.median("tls", "rps"), 0), *milliseconds(peer, "tls")]
           for peer in took_part("tls")])
    table("Per platform, 64 connections",
          ["", "CPU us/request", "CPU us/call", "CPU/call x SWAIG", "req/s", *percentiles],
          [[f"{peer.title}: {s.title if s.is_platform else 'SWAIG'}", number(peer.median(s.name, "cpu_us")),
            number(peer.median(s.name, "cpu_us") / s.calls), number(scaled(over(peer, s.name, "c64"), s.calls), 2),
            number(peer.median(s.name, "rps"), 0), *milliseconds(peer, s.name)]
           for peer in ours for s in SCENARIOS if s.name in peer.runs and (s.is_platform or s.name == "c64")
           and any(other.is_platform for other in args.scenarios)])
    footprint = [[peer.title, number(statistics.median(peer.start_ms)), number(peer.idle_mib), number(peer.peak_mib),
                  number(size(peer.binary))] for peer in peers if peer.start_ms]
    footprint += [[f"{title}, shipped table", number(statistics.median(f["start_ms"])), number(f["idle_mib"]), None, None]
                  for title, f in shipped.items()]
    table("Start and memory", ["", "start to ready ms", "idle RSS MiB", "peak RSS MiB", "binary MiB"], footprint)
    for mine in ours:
        table(f"{mine.title}: ratio to each peer",
              ["", "CPU", "req/s", "p99 (64 conn.)", "p50 (1 conn.)", "p99 (1 conn.)", "CPU, https"],
              [[other.title, *[number(ratio(mine, other, s, f), 2) for s, f in RATIOS]]
               for other in peers if other is not mine])
    goals(peers, ours, direct, nginx, shipped, args)


RATIOS = [("c64", "cpu_us"), ("c64", "rps"), ("c64", "p99_us"), ("c1", "p50_us"), ("c1", "p99_us"), ("tls", "cpu_us")]


def scaled(value, divisor):
    return None if value is None else value / divisor


def over(peer, scenario, other):
    """A scenario's CPU against that of another one of the same peer."""
    if scenario not in peer.runs or other not in peer.runs:
        return None
    return peer.median(scenario, "cpu_us") / peer.median(other, "cpu_us")


def size(binary):
    return binary.stat().st_size / 2**20 if binary else None


def goals(peers, ours, direct, nginx, shipped, args):
    """The targets of docs/performance.md with what was measured; those that this run did not measure are left out."""
    rivals = {"fastify": (2.5, 3.5), "go": (2.5, 3.5), "lua": (2.5, 3.5), "fastapi": (12, 15), "signalwire": (45, 60)}
    rows = []

    def at_most(peer, what, value, must, aim):
        if value is not None:
            rows.append([f"{peer}: {what}", number(value, 2), f"<= {must}", f"<= {aim}",
                         "aim" if value <= aim else "must" if value <= must else "missed"])

    for peer in ours:
        lean = peer.name.endswith(" lean")
        at_most(peer.title, "CPU x nginx", ratio(peer, nginx, "c64", "cpu_us"), *((1.6, 1.25) if lean else (2.0, 1.5)))
        if lean or args.quick:
            continue
        for other in peers:
            value = ratio(peer, other, "c64", "rps")
            if other.name in rivals and value is not None:
                must, aim = rivals[other.name]
                rows.append([f"{peer.title}: req/s x {other.title}", number(value, 2), f">= {must}", f">= {aim}",
                             "aim" if value >= aim else "must" if value >= must else "missed"])
        if "c64" in peer.runs:
            at_most(peer.title, "p99 / p50 at 64 connections",
                    peer.median("c64", "p99_us") / peer.median("c64", "p50_us"), 2, 1.7)
        at_most(peer.title, "p50 at 1 connection x nginx", ratio(peer, nginx, "c1", "p50_us"), 1.5, 1.2)
        at_most(peer.title, "p99 at 1 connection x nginx", ratio(peer, nginx, "c1", "p99_us"), 1.5, 1.2)
        of_nginx = nginx and difference(nginx, direct, "slow", "p99_us")
        at_most(peer.title, "20 ms upstream, p99 above direct, ms", scaled(difference(peer, direct, "slow", "p99_us"), 1000),
                1.5, 1.5 if of_nginx is None else round(of_nginx / 1000, 2))
        at_most(peer.title, "4 VoiceDock calls in one request, CPU x 4 single calls",
                scaled(over(peer, "voicedock4", "voicedock"), 4), 0.8, 0.7)
    for title, figures in shipped.items():
        at_most(title, "shipped table, start to ready, ms", statistics.median(figures["start_ms"]), 15, 8)
        at_most(title, "shipped table, idle RSS, MiB", figures["idle_mib"], 15, 10)
    table("Targets", ["", "measured", "must", "aim", "result"], rows)


def print_scale(results):
    print_machine(results)
    rows = results["scale"]
    fewest = {row["build"]: row["cpu_us"] for row in reversed(rows)}
    table("Tables of many routes",
          ["", "routes", "load ms", "idle RSS MiB", "CPU us/call", "x smallest table", "reload ms", "added p99 ms",
           "added max ms", "reloads under load", "RSS after MiB", "peak RSS MiB"],
          [[row["build"], f"{row['routes']:,}", number(row["load_ms"]), number(row["idle_mib"]), number(row["cpu_us"]),
            number(row["cpu_us"] / fewest[row["build"]], 2), number(row["reload_ms"]), number(row.get("p99_step_ms"), 2),
            number(row.get("max_step_ms"), 2), row.get("reloads"), number(row["after_mib"]), number(row["peak_mib"])]
           for row in rows])
    print("\nload: start to first response, on all CPUs. reload: change of one route to the first response from the new"
          "\nroute, including the 200 ms that Jackfield waits for further changes. added p99, added max: latency under"
          "\ncontinuous reloads minus latency without reloads (64 connections, 20 ms upstream).")


def as_json(peers, missing, shipped):
    figures = {peer.name: {"start_ms": peer.start_ms, "idle_mib": peer.idle_mib, "peak_mib": peer.peak_mib,
                           "runs": peer.runs} for peer in peers}
    return {"missing": dict(missing), "shipped": shipped, "peers": figures}
