"""Secrets in a real Secret Service, and a grant that moves into an encrypted store and back."""

import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest
from unittest import mock

from peers import CLIENT, PATIENCE, VERBOSE, Bearerd, Peers, Process, call, configure, wait_until

NEEDED = ("dbus-daemon", "dbus-send", "gnome-keyring-daemon", "secret-tool")
MISSING = [name for name in NEEDED if not shutil.which(name)]
OWNER = ["dbus-send", "--session", "--print-reply", "--dest=org.freedesktop.DBus", "/org/freedesktop/DBus",
         "org.freedesktop.DBus.NameHasOwner", "string:org.freedesktop.secrets"]
KIND = {
    "file": "",
    "encrypted": 'encryption_key = { file = "store_key" }\n',
}


def run(*command, **how):
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, **how)


@unittest.skipIf(MISSING, f"SKIPPED: no Secret Service here, for want of {', '.join(MISSING)}")
class Keyring(Peers):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        home = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory(prefix="bearerd-interop-")))
        bus = Process(["dbus-daemon", "--session", "--nofork", "--nopidfile", "--print-address=1"])
        cls.addClassCleanup(bus.stop)
        address = wait_until("the bus's address", lambda: next((line for line in bus.printed if line.startswith("unix:")), None))
        folders = {name: str(home) for name in ("HOME", "XDG_RUNTIME_DIR", "XDG_DATA_HOME")}
        cls.enterClassContext(mock.patch.dict(os.environ, {"DBUS_SESSION_BUS_ADDRESS": address, **folders}))
        cls.start_daemon()
        cls.addClassCleanup(lambda: cls.daemon.stop())

    @classmethod
    def start_daemon(cls):
        wait_until("the end of an earlier one", lambda: "boolean false" in run(*OWNER).stdout)
        cls.daemon = Process(["gnome-keyring-daemon", "--foreground", "--unlock", "--components=secrets"], env=dict(os.environ))
        cls.daemon.type("a password")
        cls.daemon.child.stdin.close()
        wait_until("a Secret Service", lambda: "boolean true" in run(*OWNER).stdout)

    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory(prefix="bearerd-interop-")))
        self.enterContext(mock.patch.dict(os.environ, {"BEARERD_BIN": os.environ["BEARERD_KEYRING_BIN"]}))
        self.reuse = self.server.report()["reuse"]
        configure(self.folder, self.server, self.upstream, self.server.seed()["refresh_token"])
        self.plain = (self.folder / "proxy.toml").read_text()
        (self.folder / "store_key").write_text(run("openssl", "rand", "-base64", "32").stdout)

    def configure(self, kind, secret='{ file = "client_secret" }'):
        text = self.plain.replace("[store]\n", "[store]\n" + KIND[kind])
        (self.folder / "proxy.toml").write_text(text.replace('{ file = "client_secret" }', secret))

    def start(self):
        bearerd = Bearerd.configured(self.folder)
        self.addCleanup(bearerd.stop)
        bearerd.wait_until_ready()
        self.assertEqual(call(bearerd.url + "/")[0], 200)
        return bearerd

    def command(self, *words):
        return run(os.environ["BEARERD_BIN"], "-c", self.folder / "proxy.toml", *words)

    def renewed(self, times):
        redeems = len(self.server.report()["redeems"])
        wait_until("renewals", lambda: len(self.server.report()["redeems"]) >= redeems + times)

    def take_the_secret_from_the_keyring(self):
        (self.folder / "client_secret").unlink()
        words = ["--label=billing", "service", "bearerd-interop", "username", "billing"]
        stored = run("secret-tool", "store", *words, input=CLIENT[1])
        self.assertEqual(stored.returncode, 0, stored.stderr)
        self.configure("file", '{ keyring = "bearerd-interop/billing" }')

    def test_a_secret_is_in_the_keyring_also_after_the_keyring_was_started_anew(self):
        self.take_the_secret_from_the_keyring()
        bearerd = self.start()
        self.renewed(2)
        self.assertEqual(self.daemon.stop(), 0)
        self.start_daemon()
        self.renewed(2)
        self.assertEqual(call(bearerd.url + "/")[0], 200)
        self.assertEqual(bearerd.stop(), 0)
        self.assertEqual(self.server.report()["reuse"], self.reuse)

    def test_a_grant_moves_into_an_encrypted_store_and_back(self):
        self.configure("file")
        bearerd = self.start()
        grant = self.folder / "grant.json"
        for source, target in (("file", "encrypted"), ("encrypted", "file")):
            with self.subTest(f"{source} to {target}"):
                exported = self.command("export", "--output", grant)
                self.assertEqual(exported.returncode, 0, exported.stderr)
                wait_until("the end of the old one", lambda: call(bearerd.url + "/")[0] == 503)
                self.assertEqual(bearerd.stop(), 0)
                self.assertEqual(self.command("export", "--output", grant).returncode, 0, "once more")
                self.configure(target)
                imported = self.command("import", grant)
                self.assertEqual((imported.returncode, grant.exists()), (0, False), imported.stderr)
                bearerd = self.start()
                self.renewed(1)
        self.assertEqual(bearerd.stop(), 0)
        self.assertEqual(self.server.report()["reuse"], self.reuse)

    def test_without_a_keyring_it_says_why_there_is_no_token(self):
        self.take_the_secret_from_the_keyring()
        bare = {"DBUS_SESSION_BUS_ADDRESS": f"unix:path={self.folder}/nobody"}
        with mock.patch.dict(os.environ, bare):
            process = Process([os.environ["BEARERD_BIN"], "run", "-c", self.folder / "proxy.toml", *VERBOSE])
            self.addCleanup(process.stop)
        wait_until("why", lambda: "the keyring is not there" in " ".join(process.printed))
