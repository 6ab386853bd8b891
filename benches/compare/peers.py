"""Who takes part: nginx, the same work written by hand, and Jackfield."""
import base64
import http.client
import os
import pathlib
import shutil
import statistics

import install
import processes

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TITLES = {
    "direct": "direct to the upstream",
    "nginx": "nginx proxy_pass",
    "lua": "nginx + Lua",
    "go": "Go net/http",
    "fastify": "Fastify + undici",
    "fastapi": "FastAPI + aiohttp",
    "signalwire": "SignalWire SDK",
    "jackfield": "Jackfield",
    "lean": "Jackfield lean",
}
PATHS = {"swaig": "/swaig", "voicedock": "/voicedock", "voicedock4": "/voicedock", "dailybots": "/dailybots",
         "millis": "/millis/order_status"}


class Peer:
    """A program under load. `paths` is for one that takes each upstream at a path of its own."""

    def __init__(self, name, title, command=None, env=None, paths=False, headers=None, binary=None, platforms=False,
                 after=()):
        self.name, self.title, self.command, self.env = name, title, command, env or {}
        self.paths, self.headers, self.binary, self.platforms = paths, headers or {}, binary, platforms
        self.port = self.log = self.process = None
        self.start_ms, self.idle_mib, self.peak_mib, self.runs = [], None, None, {}

    def url(self, scenario):
        path = PATHS[scenario.payload]
        if self.paths and scenario.upstream:
            path += f"-{scenario.upstream}"
        return f"http://127.0.0.1:{self.port}{path}"

    def start(self, cpu):
        self.process = processes.start(list(map(str, self.command)), self.log, cpu, self.env)
        self.start_ms.append(processes.wait_until_ready(self.process, self.port) * 1000)

    def stop(self):
        if self.process:
            processes.stop(self.process)
        self.process = None

    def cpu_seconds(self):
        return processes.cpu_seconds(self.process.pid) if self.process else 0.0

    def memory_mib(self, field):
        return processes.memory_mib(self.process.pid, field) if self.process else None

    def empty_log(self):
        if self.log and self.log.exists():
            os.truncate(self.log, 0)

    def median(self, scenario, figure):
        runs = self.runs.get(scenario)
        return statistics.median(run[figure] for run in runs) if runs else None

    def check(self, scenario, body):
        """One request whose answer must be the right one."""
        address, path = self.url(scenario).split("//")[1].split("/", 1)
        secure = self.url(scenario).startswith("https")
        if secure:
            return  # the upstream itself, whose certificate only wrk takes unread
        connection = http.client.HTTPConnection(address, timeout=10)
        text = body.read_text().replace("@ID@", f"check-{scenario.name}")
        connection.request("POST", "/" + path, text, {"Content-Type": "application/json", **self.headers})
        response = connection.getresponse()
        answer = response.read()
        if response.status != 200 or answer.count(b"A-70011") < scenario.calls:
            raise RuntimeError(f"{scenario.name}: status {response.status}, answer {answer[:300]!r}")


class Direct(Peer):
    """No proxy at all."""

    def __init__(self, bench):
        super().__init__("direct", TITLES["direct"])
        self.urls = {"": bench.urls["FAST"], "slow": bench.urls["SLOW"], "tls": bench.urls["TLS"]}

    def start(self, cpu):
        pass

    def url(self, scenario):
        return self.urls[scenario.upstream] + "/"


class Bench:
    """The surroundings of one comparison: its folder, ports, upstream and cache."""

    def __init__(self, run, cache, base_port):
        self.run, self.cache, self.ports = run, cache, processes.Ports(base_port)
        self.has_tls = install.certificates(run)
        self.has_slow = install.ECHO.exists()
        places = {name: self.ports.take() for name in ("FAST", "SLOW", "TLS")}
        self.values = {**places, "RUN": run, "MODULES": install.MODULES,
                       "REPLY": (HERE / "payloads/upstream.json").read_text().strip()}
        self.urls = {name: f"{'https' if name == 'TLS' else 'http'}://localhost:{port}" for name, port in places.items()}
        # By address where nothing is verified, to leave the resolver out.
        self.urls.update({name: f"http://127.0.0.1:{places[name]}" for name in ("FAST", "SLOW")})

    def offers(self, scenario):
        return {"slow": self.has_slow, "tls": self.has_tls}.get(scenario.upstream, True)

    def fill(self, source, target, **more):
        """Writes the file `source` to `target` in the run's folder with each @NAME@ replaced."""
        lines = (HERE / source).read_text().splitlines(keepends=True)
        text = "".join(line for line in lines if (self.has_slow or not line.endswith("# slow\n"))
                       and (self.has_tls or not line.endswith("# tls\n")))
        for name, value in {**self.values, **more}.items():
            text = text.replace(f"@{name}@", str(value))
        (self.run / target).write_text(text)
        return self.run / target

    def nginx(self, conf, target, **more):
        return [shutil.which("nginx"), "-e", self.run / "nginx.err", "-p", self.run,
                "-c", self.fill(f"nginx/{conf}", target, **more)]

    def upstream(self, cpu):
        """Starts the upstream API."""
        command = self.nginx("upstream.conf", "upstream.conf")
        self.ports.release()
        process = processes.start(list(map(str, command)), self.run / "upstream.log", cpu)
        processes.wait_until_ready(process, self.values["FAST"])
        return process

    def table(self, target, port, admin, lean, include=""):
        """A Jackfield table: the work for each upstream, and what the files `include` say."""
        head = self.fill("jackfield/server.toml", target, PORT=port, ADMIN=admin, RECORDS=0 if lean else 200)
        route, stream = self.route()
        text = f'include = ["{include}"]\n' * bool(include) + head.read_text()
        for name in ["", "_slow", "_tls"]:
            text += route.replace("@NAME@", name).replace("@UPSTREAM@", name)
        text += stream.replace("@NAME@", "_stream").replace("@UPSTREAM@", "")
        if not self.has_tls:
            text = text.replace(f'tls.ca = "{self.run}/ca.pem"\n', "")
        head.write_text(text)
        return head

    def route(self):
        """The text of a route, and of one that streams, with @NAME@ and @UPSTREAM@ to be filled in."""
        lines = (HERE / "jackfield/route.toml").read_text().splitlines(keepends=True)
        return "".join(line for line in lines if not line.endswith("# stream\n")), "".join(lines)

    def peers(self, names, binaries):
        """The chosen peers, and (title, reason) of those that cannot take part."""
        found, missing = [], []
        for name in names:
            for title, binary in binaries if name in ("jackfield", "lean") else [(None, None)]:
                try:
                    peer = self.jackfield(name, title, binary) if binary else self.peer(name)
                except (RuntimeError, OSError) as error:
                    missing.append((TITLES[name], str(error)))
                    continue
                peer.log = self.run / f"{peer.name.replace(' ', '-')}.log"
                found.append(peer)
        return found, missing

    def jackfield(self, name, title, binary):
        lean = name == "lean"
        title = title or "Jackfield"
        port, admin = self.ports.take(), self.ports.take()
        table = self.table(f"{title}-{name}.toml", port, admin, lean)
        peer = Peer(f"{title} lean" if lean else title, f"{title}, lean" if lean else f"{title}, default",
                    [binary, "serve", "--config", table], {"RUST_LOG": "off"} if lean else None,
                    binary=binary, platforms=True)
        peer.port, peer.admin = port, admin
        return peer

    def peer(self, name):
        if name == "direct":
            return Direct(self)
        port = self.ports.take()
        env = {"PORT": str(port), "BENCH_CA": str(self.run / "ca.pem"),
               **{f"BENCH_{place}": url for place, url in self.urls.items()}}
        headers, paths = {}, False
        if name == "nginx":
            command, paths = self.nginx("proxy.conf", "proxy.conf", PORT=port), True
        elif name == "lua":
            if not (install.LUA.exists() and install.LUA_CJSON.exists()):
                raise RuntimeError("nginx has no Lua module, or Lua no cjson")
            command = self.nginx("lua.conf", "lua.conf", PORT=port)
        elif name == "go":
            command, env["GOMAXPROCS"] = [install.go(self.cache)], "1"
        elif name == "fastify":
            command = ["node", install.node(self.cache) / "fastify_peer.mjs"]
        elif name == "fastapi":
            command = [install.python(self.cache, "fastapi"), "-m", "uvicorn", "fastapi_peer:app", "--app-dir",
                       HERE / "peers", "--no-access-log", "--log-level", "warning", "--port", port]
        elif name == "signalwire":
            command = [install.python(self.cache, "signalwire"), HERE / "peers/signalwire_peer.py"]
            env["SIGNALWIRE_LOG_MODE"] = "off"
            headers["Authorization"] = "Basic " + base64.b64encode(b"bench:bench").decode()
        else:
            raise RuntimeError("no such peer")
        env["PYTHONDONTWRITEBYTECODE"] = "1"
        peer = Peer(name, TITLES[name], command, env, paths, headers)
        peer.port = port
        return peer
