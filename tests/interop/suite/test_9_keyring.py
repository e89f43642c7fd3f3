"""Secrets and the record in a real Secret Service, and a grant that moves through all kinds of store."""

import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import unittest
from unittest import mock

from peers import CLIENT, PATIENCE, VERBOSE, Bearerd, Peers, Process, call, configure, found, wait_until

NEEDED = ("dbus-daemon", "dbus-send", "gnome-keyring-daemon", "secret-tool")
MISSING = [name for name in NEEDED if not shutil.which(name)]
OWNER = ["dbus-send", "--session", "--print-reply", "--dest=org.freedesktop.DBus", "/org/freedesktop/DBus",
         "org.freedesktop.DBus.NameHasOwner", "string:org.freedesktop.secrets"]
KIND = {
    "file": "",
    "encrypted": 'encryption_key = { file = "store_key" }\n',
    "keyring": 'kind = "keyring"\n',
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
        cls.daemon = Process(["gnome-keyring-daemon", "--foreground", "--unlock", "--components=secrets"], env=dict(os.environ))
        cls.addClassCleanup(cls.daemon.stop)
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

    def record(self):
        """What rests in the keyring."""
        return run("secret-tool", "lookup", "service", "bearerd", "username", self.folder / "state.json").stdout

    def renewed(self, times):
        redeems = len(self.server.report()["redeems"])
        wait_until("renewals", lambda: len(self.server.report()["redeems"]) >= redeems + times)

    def assert_nothing_in_the_folder(self):
        for path in self.folder.glob("state.json*"):
            self.assertIsNone(found(path.read_text(errors="replace"), self.server.secrets()), path)

    def test_the_record_rests_in_the_keyring_through_renewals_kills_and_shared_use(self):
        (self.folder / "client_secret").unlink()
        stored = run("secret-tool", "store", "--label=billing", "service", "bearerd-interop", "username", "billing", input=CLIENT[1])
        self.assertEqual(stored.returncode, 0, stored.stderr)
        self.configure("keyring", '{ keyring = "bearerd-interop/billing" }')
        first, second = self.start(), self.start()
        self.renewed(2)
        for bearerd in (first, second):
            self.assertEqual(call(bearerd.url + "/")[0], 200)
        self.assertIn('"refresh_token"', self.record())
        self.assertEqual([path.name for path in self.folder.glob("state.json*")], ["state.json.lock"])
        self.assert_nothing_in_the_folder()
        self.assertEqual(second.stop(), 0)
        redeems = len(self.server.report()["redeems"])
        first.stop(signal.SIGKILL)
        third = self.start()
        self.renewed(1)
        self.assertEqual(third.stop(), 0)
        self.assertLessEqual(len(self.server.report()["redeems"]), redeems + 2, "a restart takes up what rests")
        self.assertEqual(self.server.report()["reuse"], self.reuse)

    def test_a_grant_moves_through_all_kinds_of_store(self):
        self.configure("file")
        bearerd = self.start()
        grant = self.folder / "grant.json"
        for source, target in (("file", "encrypted"), ("encrypted", "keyring"), ("keyring", "file")):
            with self.subTest(f"{source} to {target}"):
                exported = self.command("export", "--output", grant)
                self.assertEqual(exported.returncode, 0, exported.stderr)
                wait_until("the end of the old one", lambda: call(bearerd.url + "/")[0] == 503)
                self.assertEqual(bearerd.stop(), 0)
                self.assertEqual(self.command("export", "--output", grant).returncode, 0, "once more")
                if target == "encrypted":
                    (self.folder / "state.json").unlink()
                self.configure(target)
                if source == "encrypted":
                    refused = self.command("import", grant)
                    self.assertEqual(refused.returncode, 78)
                    self.assertIn("remove the file", refused.stderr)
                    (self.folder / "state.json").unlink()
                imported = self.command("import", grant)
                self.assertEqual((imported.returncode, grant.exists()), (0, False), imported.stderr)
                bearerd = self.start()
                self.renewed(1)
        self.assertNotIn('"refresh_token"', self.record())
        self.assertEqual(self.server.report()["reuse"], self.reuse)

    def test_without_a_keyring_it_does_not_start_and_says_why(self):
        self.configure("keyring")
        bare = {"DBUS_SESSION_BUS_ADDRESS": f"unix:path={self.folder}/nobody"}
        with mock.patch.dict(os.environ, bare):
            process = Process([os.environ["BEARERD_BIN"], "run", "-c", self.folder / "proxy.toml", *VERBOSE])
            process.child.wait(PATIENCE)
        self.assertEqual(process.stop(), 78, process.story("ended"))
        self.assertIn("the keyring is not there", " ".join(process.printed))
