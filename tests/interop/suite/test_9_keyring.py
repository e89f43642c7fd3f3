"""Secrets and the record in a real Secret Service, and a grant that moves through all kinds of store."""

import json
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
LOCK = ["dbus-send", "--session", "--print-reply", "--dest=org.freedesktop.secrets", "/org/freedesktop/secrets",
        "org.freedesktop.Secret.Service.Lock", "array:objpath:/org/freedesktop/secrets/collection/login"]
KIND = {
    "file": "",
    "encrypted": 'encryption_key = { file = "store_key" }\n',
    "keyring": 'kind = "keyring"\n',
}
# A session's bus that starts nobody by itself: a keyring that is asked for while it is started anew would otherwise be
# started by the bus, and locked.
BUS = """\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:dir={folder}</listen>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"""
IN_KEYRING = '{ keyring = "bearerd-interop/billing" }'


def run(*command, **how):
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, **how)


@unittest.skipIf(MISSING, f"SKIPPED: no Secret Service here, for want of {', '.join(MISSING)}")
class Keyring(Peers):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        home = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory(prefix="bearerd-interop-")))
        (home / "bus.conf").write_text(BUS.format(folder=home))
        bus = Process(["dbus-daemon", f"--config-file={home}/bus.conf", "--nofork", "--nopidfile", "--print-address=1"])
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

    def record(self):
        """What rests in the keyring."""
        return run("secret-tool", "lookup", "service", "bearerd", "username", self.folder / "state.json").stdout

    def refused(self):
        """What it says that does not start, having presented nothing."""
        redeems = len(self.server.report()["redeems"])
        process = Process([os.environ["BEARERD_BIN"], "run", "-c", self.folder / "proxy.toml", *VERBOSE])
        self.addCleanup(process.stop)
        process.child.wait(PATIENCE)
        self.assertEqual(process.stop(), 78, process.story("ended"))
        self.assertEqual(len(self.server.report()["redeems"]), redeems)
        return " ".join(process.printed)

    def assert_no_secret_in_the_folder(self):
        for path in self.folder.glob("state.json*"):
            self.assertIsNone(found(path.read_text(errors="replace"), self.server.secrets()), path)

    def renewed(self, times):
        redeems = len(self.server.report()["redeems"])
        wait_until("renewals", lambda: len(self.server.report()["redeems"]) >= redeems + times)

    def goes_on_with_a_keyring_that_was_started_anew(self, bearerd):
        self.assertEqual(self.daemon.stop(), 0)
        self.assertNotEqual(run("secret-tool", "lookup", "nobody", "nothing").returncode, 0)
        self.assertIn("boolean false", run(*OWNER).stdout, "whoever asks meanwhile starts none")
        self.start_daemon()
        self.renewed(2)
        self.assertEqual(call(bearerd.url + "/")[0], 200)
        self.assertEqual(bearerd.stop(), 0)
        self.assertEqual(self.server.report()["reuse"], self.reuse)

    def take_the_secret_from_the_keyring(self):
        (self.folder / "client_secret").unlink()
        words = ["--label=billing", "service", "bearerd-interop", "username", "billing"]
        stored = run("secret-tool", "store", *words, input=CLIENT[1])
        self.assertEqual(stored.returncode, 0, stored.stderr)

    def test_a_secret_is_in_the_keyring_also_after_the_keyring_was_started_anew(self):
        self.take_the_secret_from_the_keyring()
        self.configure("file", IN_KEYRING)
        bearerd = self.start()
        self.renewed(2)
        self.goes_on_with_a_keyring_that_was_started_anew(bearerd)

    def test_the_record_rests_in_the_keyring_through_renewals_kills_and_shared_use(self):
        self.take_the_secret_from_the_keyring()
        self.configure("keyring", IN_KEYRING)
        first, second = self.start(), self.start()
        self.renewed(2)
        for bearerd in (first, second):
            self.assertEqual(call(bearerd.url + "/")[0], 200)
        self.assertIn('"refresh_token"', self.record())
        self.assertEqual(sorted(path.name for path in self.folder.glob("state.json*")), ["state.json", "state.json.lock"])
        self.assertEqual(second.stop(), 0)
        for _ in range(3):
            # Between the answer and its save is the one window that nobody can close.
            wait_until("a save", lambda: '"intent"' not in (self.folder / "state.json").read_text())
            redeems = len(self.server.report()["redeems"])
            first.stop(signal.SIGKILL)
            self.assert_no_secret_in_the_folder()
            first = self.start()
            self.assertLessEqual(len(self.server.report()["redeems"]), redeems + 1, "a restart takes up what rests")
            self.renewed(1)
        self.assertEqual(first.stop(), 0)
        self.assertEqual(self.server.report()["reuse"], self.reuse)

    def test_the_record_is_there_also_after_the_keyring_was_started_anew(self):
        self.configure("keyring")
        bearerd = self.start()
        self.renewed(1)
        self.goes_on_with_a_keyring_that_was_started_anew(bearerd)

    def test_a_locked_keyring_is_told_and_not_taken_for_an_empty_one(self):
        self.configure("keyring")
        self.assertEqual(self.start().stop(), 0)
        record = self.record()
        locked = run(*LOCK)
        self.assertEqual(locked.returncode, 0, locked.stderr)
        self.assertIn("unlock it", self.refused())
        exported = self.command("export", "--output", self.folder / "grant.json")
        self.assertEqual(exported.returncode, 78)
        self.assertIn("unlock it", exported.stderr)
        self.assertEqual(self.daemon.stop(), 0)
        self.start_daemon()
        self.assertEqual(self.record(), record)
        bearerd = self.start()
        self.renewed(1)
        self.assertEqual(bearerd.stop(), 0)
        self.assertEqual(self.server.report()["reuse"], self.reuse)

    def test_where_the_entry_is_not_there_the_seed_is_not_presented_again(self):
        self.configure("keyring")
        self.assertEqual(self.start().stop(), 0)
        record = self.record()
        cleared = run("secret-tool", "clear", "service", "bearerd", "username", self.folder / "state.json")
        self.assertEqual(cleared.returncode, 0, cleared.stderr)
        self.assertIn("or is another one", self.refused())
        self.configure("file")
        said = self.refused()
        self.assertIn("rests in the keyring", said)
        self.assertIn("bearerd export", said)
        self.configure("keyring")
        words = ["--label=back again", "service", "bearerd", "username", self.folder / "state.json"]
        self.assertEqual(run("secret-tool", "store", *words, input=record).returncode, 0)
        bearerd = self.start()
        self.renewed(1)
        self.assertEqual(bearerd.stop(), 0)
        self.assertEqual(self.server.report()["reuse"], self.reuse)

    def test_a_large_record_comes_back_whole(self):
        self.configure("keyring")
        self.assertEqual(self.start().stop(), 0)
        grant = self.folder / "grant.json"
        self.assertEqual(self.command("export", "--output", grant).returncode, 0)
        export = json.loads(grant.read_text())
        export["record"]["refresh_token"] = "r" * 1_000_000
        grant.write_text(json.dumps(export, indent=2))
        imported = self.command("import", "--replace", grant)
        self.assertEqual(imported.returncode, 0, imported.stderr)
        self.assert_no_secret_in_the_folder()
        self.assertEqual(self.command("export", "--output", grant).returncode, 0)
        self.assertEqual(json.loads(grant.read_text())["record"]["refresh_token"], "r" * 1_000_000)
        self.assertEqual(self.record(), "", "what has left is removed")

    def test_a_grant_moves_through_all_kinds_of_store(self):
        self.configure("file")
        bearerd = self.start()
        grant = self.folder / "grant.json"
        for source, target in (("file", "encrypted"), ("encrypted", "keyring"), ("keyring", "keyring"), ("keyring", "file")):
            with self.subTest(f"{source} to {target}"):
                if source != target and "keyring" in (source, target):
                    self.configure(target)
                    refused = self.command("export", "--output", grant)
                    self.assertEqual((refused.returncode, grant.exists()), (78, False), refused.stderr)
                    self.assertIn("bearerd import", refused.stderr)
                    self.configure(source)
                exported = self.command("export", "--output", grant)
                self.assertEqual(exported.returncode, 0, exported.stderr)
                self.assertNotIn('"refresh_token"', self.record())
                wait_until("the end of the old one", lambda: call(bearerd.url + "/")[0] == 503)
                self.assertEqual(bearerd.stop(), 0)
                self.assertEqual(self.command("export", "--output", grant).returncode, 0, "once more")
                self.configure(target)
                imported = self.command("import", grant)
                self.assertEqual((imported.returncode, grant.exists()), (0, False), imported.stderr)
                bearerd = self.start()
                self.renewed(1)
        self.assertEqual((bearerd.stop(), self.record()), (0, ""))
        self.assertEqual(self.server.report()["reuse"], self.reuse)

    def test_without_a_keyring_it_says_why_there_is_no_token(self):
        bare = {"DBUS_SESSION_BUS_ADDRESS": f"unix:path={self.folder}/nobody"}
        self.configure("keyring")
        with mock.patch.dict(os.environ, bare):
            self.assertIn("the keyring is not there", self.refused())
        self.take_the_secret_from_the_keyring()
        self.configure("file", IN_KEYRING)
        with mock.patch.dict(os.environ, bare):
            process = Process([os.environ["BEARERD_BIN"], "run", "-c", self.folder / "proxy.toml", *VERBOSE])
            self.addCleanup(process.stop)
        wait_until("why", lambda: "the keyring is not there" in " ".join(process.printed))
