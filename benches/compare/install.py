"""What the comparison needs from outside: Debian packages, and the libraries of the peers, in the cache folder."""
import os
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
PEERS = HERE / "peers"
MODULES = pathlib.Path("/usr/lib/nginx/modules")
LUA_CJSON = pathlib.Path("/usr/lib/x86_64-linux-gnu/lua/5.1/cjson.so")
ECHO, LUA = MODULES / "ngx_http_echo_module.so", MODULES / "ngx_http_lua_module.so"


def say(text):
    print(text, file=sys.stderr, flush=True)


def packages(peers):
    """Installs the Debian packages that are missing for these peers. Where it cannot, the peers are skipped later."""
    wanted = []
    for present, names in [
        (shutil.which("wrk"), ["wrk"]),
        (shutil.which("nginx"), ["nginx-light"]),
        (ECHO.exists(), ["libnginx-mod-http-echo"]),
        (shutil.which("openssl"), ["openssl"]),
        ("lua" not in peers or (LUA.exists() and LUA_CJSON.exists()), ["libnginx-mod-http-lua", "lua-cjson"]),
        ("go" not in peers or shutil.which("go"), ["golang-go"]),
    ]:
        wanted += [] if present else names
    if not wanted or not shutil.which("apt-get"):
        return
    say(f"installing {' '.join(wanted)}")
    root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    for command in (["update", "-q"], ["install", "-qy", "--no-install-recommends", *wanted]):
        done = subprocess.run(root + ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", *command],
                              capture_output=True, text=True)
        if done.returncode:
            say(f"apt-get {command[0]} failed: {(done.stderr or done.stdout).strip()[-400:]}")


def go(cache):
    need("go")
    binary = cache / "go-peer"
    run(["go", "build", "-o", binary, PEERS / "go_peer.go"], cwd=cache)
    return binary


def node(cache):
    """The folder with the Node peer and its modules."""
    need("node")
    need("npm")
    folder = cache / "node"
    once(folder, PEERS / "package.json", ["npm", "install", "--silent", "--no-audit", "--no-fund"])
    shutil.copy(PEERS / "fastify_peer.mjs", folder)
    return folder


def python(cache, name):
    """The interpreter of a virtual environment with the peer's requirements."""
    folder, requirements = cache / name, f"requirements-{name}.txt"
    once(folder, PEERS / requirements, [sys.executable, "-m", "venv", "."],
         ["bin/python", "-m", "pip", "install", "-q", "-r", requirements])
    return folder / "bin/python"


def once(folder, wanted, *commands):
    """Runs the commands in the folder, beside a copy of the file `wanted`, unless they have run for the same file."""
    copy, complete = folder / wanted.name, folder / ".complete"
    if complete.exists() and complete.read_text() == wanted.read_text():
        return
    say(f"installing {wanted.name} into {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(wanted, copy)
    for command in commands:
        run(command, folder)
    shutil.copy(copy, complete)


def need(command):
    if not shutil.which(command):
        raise RuntimeError(f"there is no `{command}`")


def run(command, cwd=None):
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, timeout=900)
    if done.returncode:
        raise RuntimeError(f"`{' '.join(map(str, command))}` failed: {(done.stderr or done.stdout).strip()[-400:]}")


def certificates(folder):
    """An authority and a certificate for localhost that it signed: ca.pem, server.pem, server.key. False without openssl."""
    if not shutil.which("openssl"):
        return False
    (folder / "openssl.cnf").write_text(
        "[req]\ndistinguished_name = name\n[name]\n"
        "[ca]\nbasicConstraints = critical, CA:TRUE\nkeyUsage = critical, keyCertSign\nsubjectKeyIdentifier = hash\n"
        "[server]\nbasicConstraints = critical, CA:FALSE\nsubjectAltName = DNS:localhost, IP:127.0.0.1\n"
        "subjectKeyIdentifier = hash\nauthorityKeyIdentifier = keyid\n")
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
           "2", "-config", "openssl.cnf"]
    run(new + ["-extensions", "ca", "-subj", "/CN=bench authority", "-keyout", "ca.key", "-out", "ca.pem"], folder)
    run(new + ["-extensions", "server", "-subj", "/CN=localhost", "-CA", "ca.pem", "-CAkey", "ca.key", "-keyout",
               "server.key", "-out", "server.pem"], folder)
    return True
