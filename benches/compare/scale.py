"""Growth: tables of many routes, and reloads of them under load; and the start of the shipped table."""
import http.client
import json
import re
import shutil
import statistics
import threading
import time

from install import say
from load import SCENARIOS
from peers import ROOT, Peer
import processes

FAST = next(s for s in SCENARIOS if s.name == "c64")
SLOW = next(s for s in SCENARIOS if s.name == "slow")
CHANGED = "order_status_r1"


def shipped(bench, builds, cpu):
    """Start and idle memory of `serve --demo` with the table of this repository."""
    found = {}
    for title, binary in builds:
        folder = bench.run / "shipped"
        shutil.copytree(ROOT / "templates", folder / "templates", dirs_exist_ok=True)
        port, admin = bench.ports.take(), bench.ports.take()
        bench.ports.release()
        text = (ROOT / "routes.toml").read_text()
        text = re.sub(r'(?m)^listen( *= ").*?"', rf'listen\g<1>127.0.0.1:{port}"', text, count=1)
        text = re.sub(r'(?m)^admin( *= ").*?"', rf'admin\g<1>127.0.0.1:{admin}"', text, count=1)
        (folder / "routes.toml").write_text(text)
        peer = Peer(title, title, [binary, "serve", "--demo", "--config", folder / "routes.toml"])
        peer.port, peer.log = port, folder / "log"
        try:
            for _ in range(5):
                peer.stop()
                peer.start(cpu)
            time.sleep(0.3)
            found[title] = {"start_ms": peer.start_ms, "idle_mib": peer.memory_mib("VmRSS")}
        except RuntimeError as error:
            say(f"the shipped table with {title}: {error}")
        finally:
            peer.stop()
    return found


def measure(bench, load, builds, sizes, seconds, cpu):
    """One row for each table and build; builds alternate."""
    upstream, rows = bench.upstream(load.cpu), []
    try:
        for size in sizes:
            for title, binary in builds:
                try:
                    rows.append(row(bench, load, title, binary, size, seconds, cpu))
                except RuntimeError as error:
                    say(f"{title} with {size} routes: {error}")
        return rows
    finally:
        processes.stop(upstream)


def many(bench, size):
    """Writes files of 500 routes, and returns their pattern, the first file, and a function in the middle."""
    folder, route = bench.run / f"routes-{size}", bench.route()[0].replace("@UPSTREAM@", "")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    names = [f"_r{number}" for number in range(1, max(size - 4, 1) + 1)]
    for first in range(0, len(names), 500):
        text = "".join(route.replace("@NAME@", name) for name in names[first:first + 500])
        (folder / f"{first:05}.toml").write_text(text)
    return f"{folder.name}/*.toml", folder / "00000.toml", f"order_status{names[len(names) // 2]}"


def row(bench, load, title, binary, size, seconds, cpu):
    port, admin = bench.ports.take(), bench.ports.take()
    bench.ports.release()
    include, file, middle = many(bench, size)
    table = bench.table("scale.toml", port, admin, lean=False, include=include)
    peer = Peer(f"scale-{title}", title, [binary, "serve", "--config", table])
    peer.port, peer.log = port, bench.run / "scale.log"
    peer.log.unlink(missing_ok=True)
    figures = {"build": title, "routes": size}
    try:
        peer.start(cpu)
        peer.check(FAST, load.body(FAST, middle))
        load.run(peer, FAST, 1, middle)
        figures["cpu_us"] = load.run(peer, FAST, seconds, middle)["cpu_us"]
        peer.stop()
        # From here on with all CPUs: a reload may use those that serve nothing.
        peer.start(None)
        figures["load_ms"] = peer.start_ms[-1]
        time.sleep(1)
        figures["idle_mib"] = peer.memory_mib("VmRSS")
        figures["reload_ms"] = statistics.median(reload(peer, load, file) for _ in range(3))
        if bench.has_slow:
            figures.update(under_load(peer, load, file, seconds))
        time.sleep(1)
        figures["after_mib"], figures["peak_mib"] = peer.memory_mib("VmRSS"), peer.memory_mib("VmHWM")
    except RuntimeError as error:
        raise RuntimeError(f"{error} {peer.log.read_text(errors='replace')[-400:]}") from None
    finally:
        peer.stop()
    say(json.dumps(figures))
    return figures


def reload(peer, load, file):
    """Changes one route of the file and returns the milliseconds until a call is answered by the new one."""
    text, number = file.read_text(), time.monotonic_ns()
    route = text.index(f"[[routes.{CHANGED}.reply]]")
    text = text[:route] + re.sub(r'text = "[^{]*', f'text = "Change {number}. ', text[route:], count=1)
    file.with_suffix(".new").write_text(text)
    body = load.body(FAST, CHANGED).read_text()
    connection = http.client.HTTPConnection("127.0.0.1", peer.port, timeout=10)
    file.with_suffix(".new").replace(file)
    began = time.monotonic()
    while time.monotonic() - began < 60:
        connection.request("POST", "/swaig", body, {"Content-Type": "application/json"})
        if f"Change {number}.".encode() in connection.getresponse().read():
            return (time.monotonic() - began) * 1000
        time.sleep(0.005)
    raise RuntimeError("a changed table was not applied within 60 s")


def under_load(peer, load, file, seconds):
    """How much later answers come while the table is reloaded again and again; the 20 ms upstream keeps the load light."""
    load.run(peer, SLOW, 1)
    quiet = load.run(peer, SLOW, seconds)
    busy, reloads = {}, 0
    # Long enough for several reloads of a large table.
    length = max(seconds, int(peer.start_ms[-1] / 1000 * 3) + 1)
    thread = threading.Thread(target=lambda: busy.update(load.run(peer, SLOW, length)))
    thread.start()
    while thread.is_alive():
        reload(peer, load, file)
        reloads += 1
    thread.join()
    return {"reloads": reloads, "p99_step_ms": (busy["p99_us"] - quiet["p99_us"]) / 1000,
            "max_step_ms": (busy["max_us"] - quiet["max_us"]) / 1000, "errors": busy["errors"]}
