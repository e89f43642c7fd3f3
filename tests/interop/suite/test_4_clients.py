"""Clients that people use come through, each in the HTTP it speaks."""

import json
import re
import subprocess
import tempfile

import grpc
import httpx

from echo import Echo, say
from peers import INTEROP, Bearerd, Peers, call, configure


def run(*command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{command} ended with {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout


def curl(version, url):
    """Protocol, status and answer."""
    out = run("curl", "--silent", "--show-error", "--noproxy", "*", version, "--data", "hello from curl",
              "--write-out", "\n%{http_version} %{response_code}", url)  # fmt: skip
    body, _, told = out.rpartition("\n")
    return told, json.loads(body)


def burst(url, *options):
    """2000 requests by h2load, ten at a time on each of ten connections; how many were 2xx, and how many failed."""
    out = run("h2load", "-n", "2000", "-c", "10", "-m", "10", *options, url)
    good = re.search(r"status codes: (\d+) 2xx", out)
    bad = re.search(r"(\d+) failed, (\d+) errored, (\d+) timeout", out)
    return int(good[1]), sum(map(int, bad.groups()))


class WithEcho(Peers):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.echo = Echo(cls.server)
        cls.addClassCleanup(cls.echo.stop)


class WithoutBearerd(WithEcho):
    """Nobody comes through who has no token: what the others get, they get by bearerd."""

    def test_the_upstream_turns_curl_away(self):
        self.assertEqual(curl("--http1.1", self.upstream.url)[0], "1.1 401")

    def test_the_upstream_turns_a_burst_away(self):
        self.assertEqual(burst(self.upstream.url, "--h1"), (0, 2000))

    def test_the_grpc_server_turns_grpcio_away_and_takes_a_good_token(self):
        with self.assertRaises(grpc.RpcError) as refused:
            say(self.echo.address, b"hello")
        self.assertEqual(refused.exception.code(), grpc.StatusCode.UNAUTHENTICATED)
        token = self.server.redeem(self.server.seed()["refresh_token"])[1]["access_token"]
        answer = say(self.echo.address, b"hello", [("authorization", f"Bearer {token}")])
        self.assertEqual(answer, (b"hello", {"echo-length": "5"}))


class Clients(WithEcho):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = cls.enterClassContext(tempfile.TemporaryDirectory(prefix="bearerd-interop-"))
        seed = cls.server.seed()["refresh_token"]
        configure(folder, cls.server, cls.upstream, seed, cls.echo.address)
        cls.bearerd = Bearerd.configured(folder)
        cls.addClassCleanup(cls.bearerd.stop)
        cls.bearerd.wait_until_ready()
        cls.url = cls.bearerd.url

    def tearDown(self):
        self.assertEqual(self.upstream.report()["rejected"], [])

    def test_curl_http_1(self):
        told, answer = curl("--http1.1", self.url + "/curl?a=1")
        self.assertEqual(told, "1.1 200")
        self.assertEqual((answer["method"], answer["target"], answer["body"]), ("POST", "/curl?a=1", "hello from curl"))

    def test_curl_http_2(self):
        told, answer = curl("--http2-prior-knowledge", self.url + "/curl?a=2")
        self.assertEqual(told, "2 200")
        self.assertEqual((answer["method"], answer["target"], answer["body"]), ("POST", "/curl?a=2", "hello from curl"))

    def test_httpx(self):
        for version, settings in {"HTTP/1.1": {}, "HTTP/2": {"http1": False, "http2": True}}.items():
            with self.subTest(version), httpx.Client(trust_env=False, timeout=20, **settings) as client:
                for size in (0, 10, 1_000_000):
                    answer = client.post(self.url + "/httpx", content=b"x" * size)
                    self.assertEqual((answer.status_code, answer.http_version), (200, version))
                    self.assertEqual(len(answer.json()["body"]), size)

    def test_node_fetch(self):
        answer = json.loads(run("node", str(INTEROP / "fetch.mjs"), self.url + "/fetch"))
        self.assertEqual((answer["status"], answer["body"]["body"]), (200, "hello from fetch"))

    def test_grpcio_unary_with_trailers(self):
        for message in (b"", b"hello", b"x" * 1_000_000):
            answer, trailers = say(self.bearerd.addresses["proxy"], message)
            self.assertEqual(answer, message)
            self.assertEqual(trailers["echo-length"], str(len(message)))

    def test_a_burst_of_2000_over_http_1(self):
        self.assertEqual(burst(self.url, "--h1"), (2000, 0))

    def test_a_burst_of_2000_over_http_2(self):
        self.assertEqual(burst(self.url), (2000, 0))

    def test_a_foreign_host_gets_nothing(self):
        before = self.upstream.report()["requests"]
        self.assertEqual(call(self.url, headers={"Host": "evil.example"})[0], 403)
        self.assertEqual(self.upstream.report()["requests"], before)
