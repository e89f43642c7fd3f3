"""The parties: each a process of its own on a free port of loopback, started, watched and ended by its handle."""

import base64
import json
import os
import pathlib
import queue
import random
import shutil
import signal
import socket
import subprocess
import threading
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request

INTEROP = pathlib.Path(__file__).resolve().parent.parent
ROOT = INTEROP.parent.parent
CLIENT = ("billing", "not a secret: 100% + /=")
VERBOSE = ["-vvv", "--log-format", "json"]
PATIENCE = 60  # seconds that a slow machine may take for anything that is not measured


def call(url, data=None, headers=None):
    """One request without a proxy; the JSON it is answered with, whatever the status."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, data=data, headers=headers or {})
    try:
        with opener.open(request, timeout=PATIENCE) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as answer:
        with answer:
            return answer.code, json.loads(answer.read() or b"null")


def wait_until(what, condition, patience=PATIENCE):
    """Waits for a state; what it became when it came."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError(f"waited {patience} s in vain: {what}")


running = set()


def break_off(_signal, _frame):
    """Whoever ends the suite early ends everybody in it; unittest would go on to the next test or forget them."""
    for child in list(running):
        child.kill()
    raise KeyboardInterrupt


signal.signal(signal.SIGTERM, break_off)
signal.signal(signal.SIGINT, break_off)


class Process:
    """A child whose lines are collected, and which never outlives the test."""

    def __init__(self, command, env=None, cwd=None):
        self.command = [str(part) for part in command]
        self.printed = []
        self.output, self.errors = queue.Queue(), queue.Queue()
        self.child = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=env,
            cwd=cwd,
        )
        running.add(self.child)
        streams = ((self.child.stdout, self.output), (self.child.stderr, self.errors))
        self.readers = [threading.Thread(target=self._read, args=both, daemon=True) for both in streams]
        for reader in self.readers:
            reader.start()

    def _read(self, stream, lines):
        for line in stream:
            self.printed.append(line.rstrip())
            lines.put(line)
        lines.put(None)

    def line(self, lines, deadline):
        """The next line, as JSON where it is some."""
        try:
            line = lines.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise AssertionError(self.story("said nothing more")) from None
        if line is None:
            self.child.wait(PATIENCE)
            raise AssertionError(self.story(f"ended with {self.child.returncode}"))
        try:
            return json.loads(line)
        except ValueError:
            return {}

    def type(self, text):
        """Types on its standard input."""
        self.child.stdin.write(text)
        self.child.stdin.flush()

    def story(self, what):
        """What it did, with the last that it said."""
        said = "\n    ".join(self.printed[-40:]) or "nothing"
        return f"`{' '.join(self.command)}` {what}; it said last:\n    {said}"

    def stop(self, how=signal.SIGTERM, patience=40):
        """Ends it; its exit code, negative for a signal."""
        if self.child.poll() is None:
            self.child.send_signal(how)
            try:
                self.child.wait(patience)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
                raise AssertionError(self.story(f"did not end within {patience} s")) from None
        running.discard(self.child)
        for reader in self.readers:
            reader.join(PATIENCE)
        for stream in (self.child.stdin, self.child.stdout, self.child.stderr):
            stream.close()
        return self.child.returncode


class Peer(Process):
    """A peer that prints one line of JSON when it listens, and tells at `control` what it has seen."""

    def __init__(self, command):
        super().__init__(command)
        self.told = self.line(self.output, time.monotonic() + PATIENCE)

    def report(self):
        return call(self.told["control"] + "/report")[1]


running_servers = set()


class AuthorizationServer(Peer):
    """oidc-provider: rotates, detects reuse, access tokens of 10 s."""

    def __init__(self):
        super().__init__(["node", INTEROP / "oidc-provider" / "server.mjs"])
        self.issuer = self.told["issuer"]
        metadata = call(self.issuer + "/.well-known/openid-configuration")[1]
        self.token_endpoint, self.introspection = metadata["token_endpoint"], metadata["introspection_endpoint"]
        running_servers.add(self)

    def stop(self, how=signal.SIGTERM, patience=40):
        running_servers.discard(self)
        return super().stop(how, patience)

    def seed(self):
        return call(self.told["control"] + "/seed", data=b"")[1]

    def secrets(self):
        """Every token that has passed through a client's hands, and the client's own secret."""
        return [*call(self.told["control"] + "/secrets")[1], CLIENT[1]]

    def redeem(self, refresh_token):
        form = urllib.parse.urlencode({"grant_type": "refresh_token", "refresh_token": refresh_token})
        return call(self.token_endpoint, form.encode(), basic(*CLIENT))

    def is_active(self, token):
        form = urllib.parse.urlencode({"token": token}).encode()
        return call(self.introspection, form, basic("upstream", "not-a-secret-either"))[1]["active"]


class Upstream(Peer):
    """Asks the authorization server about every token that comes."""

    def __init__(self, server):
        super().__init__(["node", INTEROP / "upstream.mjs", server.introspection])
        self.url = self.told["url"]


def chromium():
    """The browser's path; whoever needs one is skipped, loudly, where there is none (tests/interop/run installs it)."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        raise unittest.SkipTest("SKIPPED: there is no chromium to be had on this machine")
    return path


# Systems give none of these to who asks for any port (Linux: from 32768 on, others: from 49152 on), so that none is taken
# between its being found free and its use.
FIXED_PORTS = range(20000, 30000)
given_out = set()


def free_port():
    """One that nobody listens on now, for those who have to know it beforehand."""
    while True:
        port = random.choice(FIXED_PORTS)
        with socket.socket() as asking:
            try:
                asking.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in given_out:
            given_out.add(port)
            return port


def basic(name, secret):
    halves = ":".join(urllib.parse.quote_plus(half) for half in (name, secret))
    return {"Authorization": "Basic " + base64.b64encode(halves.encode()).decode()}


def disguises(secret):
    """As it is, in percent-encoding, and in base64, where it may begin at any of three places of a group."""
    yield secret
    yield "".join(f"%{byte:02X}" for byte in secret.encode())
    for before in ("", "x", "xx"):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            # The first and the last characters depend on what stands around it.
            yield encode((before + secret).encode()).decode().rstrip("=")[4:-4]


def found(text, secrets):
    """The first of the secrets that the text tells in any disguise."""
    return next((secret for secret in secrets if any(shape in text for shape in disguises(secret))), None)


class Bearerd(Process):
    """The real binary; it listens once this returns, and has told no secret when it has stopped."""

    def __init__(self, command):
        self.addresses = {}
        ours = {name: text for name, text in os.environ.items() if not name.startswith("BEARERD_")}
        env = {name: text for name, text in ours.items() if not name.lower().endswith("_proxy")}
        super().__init__(command, env)
        try:
            self._listen()
        except BaseException:
            self.stop(signal.SIGKILL)
            raise

    @classmethod
    def configured(cls, folder):
        """With the proxy.toml in there."""
        return cls([os.environ["BEARERD_BIN"], "run", "-c", pathlib.Path(folder) / "proxy.toml", *VERBOSE])

    def stop(self, how=signal.SIGTERM, patience=40):
        code = super().stop(how, patience)
        secrets = [secret for server in running_servers for secret in server.secrets()]
        assert len(secrets) > 1, "there is something to look for"
        told = found("\n".join(self.printed), secrets)
        assert told is None, self.story(f"told the secret {told}")
        return code

    def _listen(self):
        deadline = time.monotonic() + PATIENCE
        while not {"proxy", "probes"} <= self.addresses.keys():
            line = self.line(self.errors, deadline)
            fields = {**line, **line.get("fields", {})}
            if "listening" in (fields.get("event"), fields.get("message"), fields.get("name")):
                self.addresses[fields["listener"]] = fields["address"].removeprefix("http://")
        self.url = "http://" + self.addresses["proxy"]

    def wait_until_ready(self):
        """Waits for /readyz; tells what was said when it never comes."""
        try:
            wait_until("/readyz says 200", self._is_ready)
        except AssertionError as error:
            raise AssertionError(self.story(f"does not become ready ({error})")) from None

    def _is_ready(self):
        """A probe's answer need not be JSON."""
        if self.child.poll() is not None:
            raise AssertionError(f"exit code {self.child.returncode}")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"http://{self.addresses['probes']}/readyz", timeout=PATIENCE) as response:
                return response.status == 200
        except OSError:
            return False


ECHO_ROUTE = """
[[route]]
path = "/interop.Echo"
upstream = "http://{echo}"
http = "2"
"""


def configure(folder, server, upstream, seed, echo=None, listen="127.0.0.1:0"):
    """Writes proxy.toml and the files it names, as a person would; `echo` is a gRPC server's address."""
    folder = pathlib.Path(folder)
    for name, text in (("client_secret", CLIENT[1]), ("refresh_token", seed)):
        (folder / name).write_text(text + "\n")
        (folder / name).chmod(0o600)
    (folder / "proxy.toml").write_text(f"""
listen = "{listen}"

[[route]]
upstream = "{upstream.url}"
{ECHO_ROUTE.format(echo=echo) if echo else ""}
[oauth]
issuer = "{server.issuer}"
client_id = "{CLIENT[0]}"
client_secret = {{ file = "client_secret" }}
refresh_token = {{ file = "refresh_token" }}
scopes = ["openid", "offline_access"]

[store]
path = "state.json"

[admin]
listen = "127.0.0.1:0"

[probes]
listen = "127.0.0.1:0"
""")


class Peers(unittest.TestCase):
    """Both parties that bearerd talks to, there for all tests of a class."""

    @classmethod
    def setUpClass(cls):
        cls.server = AuthorizationServer()
        cls.addClassCleanup(cls.server.stop)
        cls.upstream = Upstream(cls.server)
        cls.addClassCleanup(cls.upstream.stop)
