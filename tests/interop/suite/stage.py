"""What the status page is shown of: bearerd between a token endpoint that says what it is told to, and an upstream."""

import concurrent.futures
import http.server
import json
import os
import pathlib
import secrets
import tempfile
import threading
import time
import urllib.request

import peers

GRANTS = {"default": "billing", "crm": "crm-sync", "maps": "maps-reader"}


class Server(http.server.ThreadingHTTPServer):
    """On a port of loopback that the system picks."""

    daemon_threads = True

    def __init__(self, handler):
        super().__init__(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        """Whoever leaves early is no news."""


class Quiet(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def answer(self, status, body, kind="application/json", fields=()):
        data = body.encode()
        self.send_response(status)
        for name, value in (("Content-Type", kind), ("Content-Length", str(len(data))), *fields):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()


class TokenEndpoint(Server):
    """Rotates, and revokes, unless it is told another `mood`: a status and an OAuth error, or none to say nothing until
    it is let go."""

    def __init__(self, life, mood):
        self.life, self.mood, self.issued, self.let_go = life, mood, [], threading.Event()
        endpoint = self

        class Handler(Quiet):
            def do_POST(self):
                self.body()
                if endpoint.mood is None:
                    endpoint.let_go.wait()
                status, error = endpoint.mood or (200, "")
                if status != 200:
                    told = {"error": error, "error_description": "the server's own words"} if error else {}
                    return self.answer(status, json.dumps(told))
                token, refresh_token = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
                endpoint.issued += [token, refresh_token]
                told = {"access_token": token, "refresh_token": refresh_token, "expires_in": endpoint.life}
                return self.answer(200, json.dumps({**told, "token_type": "Bearer"}))

        super().__init__(Handler)


class Upstream(Server):
    """Answers 200, or what a path always gets; /profile takes every token but the first that it has seen."""

    ALWAYS = {"/customers/99": 404, "/reports/today": 500, "/sessions/7": 204}

    def __init__(self):
        revoked = []

        class Handler(Quiet):
            def do_GET(self):
                self.body()
                path = self.path.split("?")[0]
                token = self.headers.get("Authorization")
                if path == "/profile":
                    revoked.append(token)
                if path == "/profile" and token == revoked[0]:
                    challenge = ("WWW-Authenticate", 'Bearer error="invalid_token"')
                    return self.answer(401, "{}", fields=[challenge])
                return self.answer(Upstream.ALWAYS.get(path, 200), "{}")

            do_POST = do_PUT = do_DELETE = do_GET

        super().__init__(Handler)


class Stage:
    """All of it, with grants of these names."""

    def __init__(self, grants=("default",), life=1800, more="", mood=(200, ""), timeout="2s"):
        self.folder = tempfile.TemporaryDirectory(prefix="bearerd-")
        self.home = pathlib.Path(self.folder.name)
        self.endpoint, self.upstream, self.away = TokenEndpoint(life, mood), Upstream(), []
        routes, tables = "", ""
        for name in grants:
            self.endpoint.issued.append(secrets.token_urlsafe(24))
            (self.home / f"{name}.seed").write_text(self.endpoint.issued[-1])
            (self.home / f"{name}.seed").chmod(0o600)
            path = "/" if name == "default" else f"/{name}"
            routes += f'[[route]]\npath = "{path}"\nupstream = "{self.upstream.url}"\ngrant = "{name}"\n\n'
            section = "oauth" if name == "default" else f"grant.{name}"
            tables += f"""
[{section}]
issuer = "http://localhost:{self.endpoint.server_address[1]}"
token_endpoint = "{self.endpoint.url}/token"
revocation_endpoint = "{self.endpoint.url}/revoke"
client_id = "{GRANTS[name]}"
refresh_token = {{ file = "{name}.seed" }}
scopes = ["openid", "offline_access"]
timeout = "{timeout}"
"""
        (self.home / "proxy.toml").write_text(f"""
listen = "127.0.0.1:0"

{routes}{tables}
[store]
path = "{self.home}/state.json"

[admin]
listen = "127.0.0.1:0"

[probes]
listen = "127.0.0.1:0"

[limits]
token_wait = "1s"
{more}""")
        self.bearerd = peers.Bearerd.configured(self.home)
        self.proxy, self.page = self.bearerd.url, "http://" + self.bearerd.addresses["admin"] + "/"

    def status(self):
        return peers.call(self.page + "api/v1/status")[1]

    def act(self, path):
        return peers.call(self.page + "api/v1/" + path, b"", {"bearerd-action": "1"})

    def is_(self, state, grant="default"):
        """Waits until the grant is in this state."""

        def has_come():
            grants = {one["name"]: one["state"] for one in self.status()["grants"]}
            return grants[grant] == state

        peers.wait_until(f"{grant} is {state}", has_come)

    def refresh(self, grant="default"):
        """Asks for a refresh, and waits for its end."""
        before = self.act(f"grants/{grant}/refresh")[1]["attempts"]

        def ended():
            return next(one for one in self.status()["grants"] if one["name"] == grant)["attempts"] > before

        peers.wait_until("a refresh", ended)

    def ask(self, path, method="GET"):
        """A caller's request; its status."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        request = urllib.request.Request(self.proxy + path, method=method)
        try:
            with opener.open(request, timeout=peers.PATIENCE) as answer:
                return answer.status
        except urllib.error.HTTPError as answer:
            with answer:
                return answer.code

    def revoke(self):
        """Has the upstream refuse the token, which is renewed once it is of an age to be doubted."""
        peers.wait_until("another token", lambda: self.ask("/profile") == 200)

    def traffic(self, count=60):
        """What callers do all day."""
        paths = ["/invoices?key=canary", "/invoices/4711", "/customers/99", "/customers/12/orders", "/reports/today", "/sessions/7"]
        # Several at a time: where there is no token each of them waits for one.
        with concurrent.futures.ThreadPoolExecutor(13) as callers:
            for index in range(count):
                callers.submit(self.ask, paths[index % len(paths)], "POST" if index % 5 == 3 else "GET")

    def brought_to(self, state):
        """Through the default grant's life, to this state."""
        if state in ("starting", "misconfigured"):
            self.is_(state)
            return
        self.is_("active")
        if state == "active":
            return
        self.endpoint.mood = (400, "invalid_grant") if state == "sign_in_required" else (503, "")
        self.refresh()
        if state == "unavailable":
            # The token ends while the server is away.
            time.sleep(self.endpoint.life)
        self.is_(state)

    def secrets(self):
        """Every token that was given out."""
        return self.endpoint.issued

    def close(self):
        self.endpoint.let_go.set()
        try:
            self.bearerd.stop()
        finally:
            for server in (self.endpoint, self.upstream):
                server.shutdown()
                server.server_close()
            self.folder.cleanup()
