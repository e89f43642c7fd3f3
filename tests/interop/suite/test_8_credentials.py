"""Every way of proving who asks, and every grant, at a certified server and an upstream that checks what a token is bound to."""

import json
import pathlib
import shutil
import subprocess
import tempfile
import time
import unittest

from peers import INTEROP, PATIENCE, Bearerd, Peer, call, running_servers, wait_until

METHODS = {
    "basic": 'client_auth = "basic"\nclient_secret = { file = "credential" }',
    "post": 'client_auth = "post"\nclient_secret = { file = "credential" }',
    "secret-jwt": 'client_auth = "client_secret_jwt"\nclient_secret = { file = "credential" }',
    "es256": 'client_key = { file = "credential" }',
    "rs256": 'client_key = { file = "credential" }',
    "ps256": 'client_key = { file = "credential" }\nclient_key_algorithm = "PS256"',
    "eddsa": 'client_key = { file = "credential" }',
    "tls": 'client_auth = "tls"',
    "public": "",
}
WITH_CERTIFICATE = '\nclient_cert = "client.pem"\nclient_key = { file = "client.key" }'


def openssl(folder, *arguments):
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=PATIENCE)


def certify(folder, name, subject, extension):
    """A key, and a certificate of the authority in there."""
    openssl(folder, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", subject,
            "-keyout", f"{name}.key", "-out", f"{name}.csr")
    (folder / f"{name}.ext").write_text(extension)
    openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
            "-days", "2", "-extfile", f"{name}.ext", "-out", f"{name}.pem")


class Server(Peer):
    """oidc-provider behind TLS, and its upstream."""

    def __init__(self, folder):
        super().__init__(["node", INTEROP / "oidc-provider" / "credentials.mjs", folder])
        self.issuer, self.upstream, self.control = (self.told[name] for name in ("issuer", "upstream", "control"))
        self.credentials = call(self.control + "/credentials")[1]
        running_servers.add(self)

    def stop(self, *how, **patience):
        running_servers.discard(self)
        return super().stop(*how, **patience)

    def secrets(self):
        """Of a key any line that is long enough to be one."""
        secrets = call(self.control + "/secrets")[1]
        return [line for secret in secrets for line in secret.splitlines() if len(line) >= 20 and "---" not in line]

    def seed(self, client):
        return call(f"{self.control}/seed/{client}", data=b"")[1]["refresh_token"]


class Credentials(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.pki = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory(prefix="bearerd-interop-")))
        openssl(cls.pki, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                "-subj", "/CN=nobody trusts it", "-keyout", "ca.key", "-out", "ca.pem")
        certify(cls.pki, "server", "/CN=server", "subjectAltName=IP:127.0.0.1,DNS:localhost")
        certify(cls.pki, "client", "/CN=billing", "subjectAltName=DNS:billing")
        cls.server = Server(cls.pki)
        cls.addClassCleanup(cls.server.stop)

    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory(prefix="bearerd-interop-")))
        for name in ("ca.pem", "client.pem", "client.key"):
            shutil.copy(self.pki / name, self.folder)
        before = self.server.report()
        self.errors, self.rejected = len(before["errors"]), len(before["rejected"])

    def start(self, client, keys, certificate=""):
        """bearerd as this client."""
        (self.folder / "credential").write_text(self.server.credentials.get(client, ""))
        (self.folder / "proxy.toml").write_text(f"""
listen = "127.0.0.1:0"
upstream = "{self.server.upstream}"

[oauth]
issuer = "{self.server.issuer}"
client_id = "{client}"
{keys}

[store]
path = "state.json"

[admin]
listen = "off"

[probes]
listen = "127.0.0.1:0"

[tls]
ca_file = "ca.pem"
roots = "file"{certificate}
""")
        bearerd = Bearerd.configured(self.folder)
        self.addCleanup(bearerd.stop)
        bearerd.wait_until_ready()
        return bearerd

    def assert_serves_through_renewals(self, client, bearerd, renewals=2):
        redeems = lambda: self.server.report()["redeems"].get(client, 0)
        enough = redeems() + renewals
        tokens = set()
        deadline = time.monotonic() + PATIENCE
        while redeems() < enough or len(tokens) <= renewals:
            self.assertLess(time.monotonic(), deadline, bearerd.story("renewed nothing"))
            status, answer = call(bearerd.url + "/some%20where?a=b")
            self.assertEqual(status, 200, bearerd.story(f"brought {answer}"))
            tokens.add(answer["token"])
            time.sleep(0.1)
        report = self.server.report()
        self.assertEqual((report["errors"][self.errors :], report["rejected"][self.rejected :]), ([], []))

    def seeded(self, client, keys):
        (self.folder / "seed").write_text(self.server.seed(client))
        return f'refresh_token = {{ file = "seed" }}\n{keys}'

    def test_every_client_authentication_is_accepted_through_renewals(self):
        for client, keys in METHODS.items():
            with self.subTest(client):
                certificate = WITH_CERTIFICATE if client == "tls" else ""
                bearerd = self.start(client, self.seeded(client, keys), certificate)
                self.assert_serves_through_renewals(client, bearerd, 1)
                self.assertEqual(bearerd.stop(), 0)
                (self.folder / "state.json").unlink()

    def test_a_token_that_is_bound_to_a_certificate_is_refused_without_it(self):
        """What the test above rests on: the upstream looks."""
        bearerd = self.start("tls", self.seeded("tls", METHODS["tls"]), WITH_CERTIFICATE)
        self.assert_serves_through_renewals("tls", bearerd, 1)
        self.assertGreater(self.server.report()["redeems"]["tls"], 1)
        self.assertEqual(bearerd.stop(), 0)
        # The same record, and no certificate to show: the stored token is of no use upstream.
        (self.folder / "proxy.toml").write_text((self.folder / "proxy.toml").read_text().replace(WITH_CERTIFICATE, "").replace(METHODS["tls"], ""))
        bearerd = Bearerd.configured(self.folder)
        self.addCleanup(bearerd.stop)
        wait_until("a refusal", lambda: call(bearerd.url + "/")[0] in (401, 503))

    def assert_proves_through_renewals(self, client, keys):
        """Both sides want nonces; another one of the upstream's costs no caller an answer."""
        before = self.server.report()["nonces"]
        bearerd = self.start(client, keys + '\ndpop = "required"')
        self.assert_serves_through_renewals(client, bearerd)
        call(self.server.control + "/nonce", data=b"")
        self.assert_serves_through_renewals(client, bearerd, 1)
        asked = {side: count - before[side] for side, count in self.server.report()["nonces"].items()}
        self.assertEqual(asked, {"server": 1, "upstream": 2}, "once each, and once more for the upstream's next")
        return bearerd

    def test_tokens_are_bound_to_a_key_and_so_is_a_public_clients_refresh_token(self):
        keys = 'dpop_key = { file = "credential" }'
        bearerd = self.assert_proves_through_renewals("dpop", self.seeded("dpop", keys))
        self.assertEqual(bearerd.stop(), 0)
        # The stored token and its key go on; with another key the refresh token is of no use.
        (self.folder / "proxy.toml").write_text((self.folder / "proxy.toml").read_text().replace(keys, ""))
        bearerd = Bearerd.configured(self.folder)
        self.addCleanup(bearerd.stop)
        bearerd.wait_until_ready()
        self.assert_serves_through_renewals("dpop", bearerd, 1)
        self.assertEqual(bearerd.stop(), 0)
        record = json.loads((self.folder / "state.json").read_text())
        self.assertIn("PRIVATE KEY", record.pop("dpop_key"))
        (self.folder / "state.json").write_text(json.dumps(record))
        bearerd = Bearerd.configured(self.folder)
        self.addCleanup(bearerd.stop)
        wait_until("sign_in_required", lambda: call(bearerd.url + "/")[1].get("code") == "sign_in_required")

    def test_tokens_of_a_client_that_proves_itself_with_another_key_are_bound(self):
        keys = 'flow = "client_credentials"\nclient_key = { file = "credential" }'
        self.assert_proves_through_renewals("dpop-machine", keys)

    def test_client_credentials(self):
        keys = 'flow = "client_credentials"\nclient_key = { file = "credential" }'
        self.assert_serves_through_renewals("machine", self.start("machine", keys))

    def test_a_jwt_bearer_assertion_is_signed_for_each_token(self):
        keys = 'flow = "jwt_bearer"\nsubject = "alice@example.com"\nclient_key = { file = "credential" }'
        self.assert_serves_through_renewals("robot", self.start("robot", keys))
        self.assertIn("alice@example.com", self.server.report()["subjects"])

    def test_a_token_is_exchanged_and_again_with_the_next_one(self):
        def another():
            (self.folder / "subject.new").write_text(call(self.server.control + "/subject", data=b"")[1]["access_token"])
            (self.folder / "subject.new").rename(self.folder / "subject")

        another()
        keys = (
            'flow = "token_exchange"\nclient_key = { file = "credential" }\n'
            'subject_token = { file = "subject" }\nsubject_token_type = "access_token"'
        )
        bearerd = self.start("gateway", keys)
        for _ in range(2):
            another()
            self.assert_serves_through_renewals("gateway", bearerd, 1)
        self.assertIn("alice", self.server.report()["subjects"])
