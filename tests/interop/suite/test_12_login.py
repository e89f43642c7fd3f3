"""A person signs in: by browser, by device, at Authgear, from nothing to a working curl; and whatever comes in between."""

import json
import os
import pathlib
import re
import subprocess
import tempfile
import time

from browser import Person
from peers import PATIENCE, ROOT, Bearerd, Peer, Peers, call, chromium, free_port, wait_until
from terminal import Terminal

PROMISED = 2.0  # seconds from a sign-in to the first answer of a daemon that waited for it
SIGNS_IN = (["type", "Name", "alice"], ["press", "Sign in"])
CTRL_C = "\x03"

CONFIG = """\
listen = "127.0.0.1:{port}"
upstream = "{upstream}"

[oauth]
issuer = "{issuer}"
client_id = "{client}"
scopes = ["openid", "offline_access"]
{more}
[store]
path = "state.json"

[admin]
listen = "{admin}"

[probes]
listen = "127.0.0.1:0"
"""


class SigningIn(Peers):
    """What both ways to a server have in common."""

    @classmethod
    def setUpClass(cls):
        chromium()
        super().setUpClass()

    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory(prefix="bearerd-interop-")))
        self.home = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory(prefix="bearerd-home-")))
        (self.home / "bin").mkdir()
        (self.home / "bin" / "bearerd").symlink_to(os.environ["BEARERD_BIN"])
        self.proxy, self.admin, self.terminals = free_port(), f"127.0.0.1:{free_port()}", 0

    def person(self, *steps):
        person = Person(*steps)
        self.addCleanup(person.leaves)
        return person

    def environment(self, person=None, **more):
        """A person's, at a machine without a desktop; `$BROWSER` is the person's, if there is one."""
        env = {
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "PATH": f"{self.home / 'bin'}:{os.environ['PATH']}",
            "STATE_DIRECTORY": str(self.home / "state"),  # root's own would be the machine's
        }
        return env | ({"BROWSER": str(person.program())} if person else {}) | more

    def terminal(self, person=None, **more):
        """A terminal in the folder, whose story is kept under the test's name."""
        terminal = Terminal(self.folder, self.environment(person, **more))
        self.terminals += 1
        name = self.id().rpartition(".")[2] + (f"-{self.terminals}" if self.terminals > 1 else "")
        self.addCleanup(terminal.closes, name)
        return terminal

    def configure(self, client="cli", more=""):
        text = CONFIG.format(
            port=self.proxy,
            upstream=self.upstream.url,
            issuer=self.server.issuer,
            client=client,
            more=more,
            admin=self.admin,
        )
        (self.folder / "proxy.toml").write_text(text)

    def login(self, *arguments, person=None, patience=3 * PATIENCE):
        """`bearerd login` in a terminal; exit code, and what was seen."""
        return self.terminal(person).runs(" ".join(["bearerd login", *arguments]), patience)

    def device(self, terminal):
        """Where the terminal says that a device is signed in, and with which code."""
        page = terminal.sees(rf"{self.server.issuer}/device(?=\s)").group()
        return page, terminal.sees(r"\b[A-Z]{4}-[A-Z]{4}\b").group()

    def grants(self):
        """How many sign-ins the server has seen to their end."""
        return len(self.server.report()["signIns"])

    def assert_is_accessible(self, seen):
        self.assertEqual([look["colorScheme"] for look in seen["audits"]], ["light", "dark"])
        for look in seen["audits"]:
            self.assertEqual(look["violations"], [], look["colorScheme"])
            self.assertGreater(look["passes"], 10, "axe has looked")

    def assert_says(self, said, pattern):
        self.assertRegex(" ".join(said.split()), pattern)


class FromNothing(SigningIn):
    """A recorded run: a folder that is empty, a configuration, a sign-in, a proxy, a curl."""

    def begin(self, terminal, **filled):
        """The configuration that `config init` writes, with what a person fills in."""
        path = self.folder / "proxy.toml"
        self.assertFalse(path.exists())
        code, said = terminal.runs("bearerd config init")
        self.assertEqual(code, 0, said)
        text = path.read_text()
        for key, value in {"listen": f"localhost:{self.proxy}", "upstream": self.upstream.url, **filled}.items():
            line = f"{key} = {json.dumps(value)}"
            text, found = re.subn(rf"^{key} *=.*$", lambda _: line, text, count=1, flags=re.MULTILINE)
            if not found:
                neighbour = "upstream" if key == "listen" else "client_id"
                text = re.sub(rf"^{neighbour} *=", rf"{line}\n\g<0>", text, count=1, flags=re.MULTILINE)
        path.write_text(text)
        terminal.runs("cat proxy.toml  # what a person has filled in")
        code, said = terminal.runs("bearerd check")
        self.assertEqual(code, 0, said)

    def assert_curl_works(self, terminal, path="/some/where?a=b"):
        """As the command itself has said to go on."""
        terminal.types("bearerd run &")
        terminal.sees(r"listening")
        wait_until("it carries requests", lambda: self.answers() == 200)
        code, said = terminal.runs(f"curl -sS --fail --noproxy '*' 'http://localhost:{self.proxy}{path}'")
        self.assertEqual(code, 0, said)
        terminal.types("kill %1; wait %1; echo ended with $?")
        terminal.sees(r"^ended with 0")
        return said

    def answers(self):
        try:
            return call(f"http://127.0.0.1:{self.proxy}/")[0]
        except OSError:
            return None

    def test_by_browser(self):
        person = self.person(*SIGNS_IN, ["audit"])
        terminal = self.terminal(person)
        self.begin(terminal, issuer=self.server.issuer, client_id="cli", redirect_port=free_port())
        code, said = terminal.runs("bearerd login")
        self.assertEqual(code, 0, said)
        seen = person.seen()
        self.assert_is_accessible(seen)
        self.assertEqual(seen["status"], 200, seen)
        self.assertTrue(seen["url"].startswith("http://127.0.0.1:"), seen)
        self.assert_says(seen["title"], "Signed in")
        self.assertIn('"target":"/some/where?a=b"', self.assert_curl_works(terminal))

    def test_by_device(self):
        terminal = self.terminal()
        self.begin(terminal, issuer=self.server.issuer, client_id="cli")
        terminal.types("bearerd login --device")
        url, code = self.device(terminal)
        terminal.sees(rf"(?s)\b{code}\b.*?[▀▄█]{{20}}")
        phone = self.person(["type", "Enter code", code], ["press", "Continue"], ["press", "Yes"], *SIGNS_IN, ["see", "Go back"])
        phone.goes_to(url)
        code, said = terminal.ends()
        self.assertEqual(code, 0, said)
        self.assertIn('"target":"/some/where?a=b"', self.assert_curl_works(terminal))

    def test_by_browser_at_authgear(self):
        """An exact redirect URI, `openid` required, no `iss`; the page behind the button is the playground's."""
        port = free_port()
        authgear = Authgear(f"http://127.0.0.1:{port}/callback")
        self.addCleanup(authgear.stop)
        person = self.person(["press", "Sign in"])
        terminal = self.terminal(person)
        self.upstream = authgear
        self.begin(
            terminal, issuer=authgear.told["issuer"], client_id=authgear.told["client_id"], redirect_port=port
        )
        code, said = terminal.runs("bearerd login")
        self.assertEqual(code, 0, said)
        self.assertIn(f"http://127.0.0.1:{port}/callback", said)
        self.assertEqual(person.seen()["title"], "Signed in — you can close this tab")
        self.assertIn("Bearer", self.assert_curl_works(terminal, "/echo"))


class Authgear(Peer):
    """The tests' Authgear with its upstream, in a process of the playground's."""

    def __init__(self, redirect_uri):
        subprocess.run(["cargo", "build", "--quiet", "--locked", "--example", "playground"], cwd=ROOT, check=True)
        built = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
        super().__init__([built / "debug" / "examples" / "playground", "parties", "authgear", "300", redirect_uri])
        self.url = self.told["upstream"]


class Waiting(SigningIn):
    """A daemon that waits for a sign-in needs no restart."""

    def serves_after(self):
        """Seconds from the commit of the record to the first answer of a daemon that waited in `sign_in_required`."""
        self.configure()
        bearerd = Bearerd.configured(self.folder)
        self.addCleanup(bearerd.stop)
        url, record = bearerd.url + "/", self.folder / "state.json"
        wait_until("sign_in_required", lambda: call(url)[1].get("code") == "sign_in_required")
        terminal = self.terminal(self.person(*SIGNS_IN))
        terminal.types("bearerd login")
        wait_until("the first answer", lambda: call(url)[0] == 200, 3 * PATIENCE)
        # The file's own time is when its content was written, to be renamed then: before that nobody could have seen it.
        took = time.time() - record.stat().st_mtime
        code, said = terminal.ends()
        self.assertEqual(code, 0, said)
        self.assertEqual(bearerd.stop(), 0)
        return took, said

    def test_a_daemon_that_waits_serves_within_two_seconds(self):
        took, said = self.serves_after()
        print(f"served {took * 1000:.0f} ms after the sign-in was stored")
        self.assertLess(took, PROMISED, said)

    def test_a_daemon_that_cannot_be_told_looks_by_itself(self):
        self.admin = "off"
        took, _ = self.serves_after()
        print(f"served {took:.1f} s after the sign-in was stored, with nobody to tell it")


class Endings(SigningIn):
    """Each sign-in that comes to nothing ends in a sentence and a code, and leaves no record."""

    def assert_ends(self, terminal, exit_code, pattern):
        code, said = terminal.ends()
        self.assertEqual(code, exit_code, said)
        self.assert_says(said, pattern)

    def assert_nothing_was_kept(self):
        record = self.folder / "state.json"
        kept = json.loads(record.read_text()) if record.exists() else {}
        self.assertFalse(kept.get("refresh_token"), kept)

    def test_cancelled_by_ctrl_c(self):
        self.configure()
        terminal = self.terminal()
        terminal.types("bearerd login --no-browser")
        terminal.sees(rf"{self.server.issuer}/auth\?")
        terminal.presses(CTRL_C)
        self.assert_ends(terminal, 130, "(?i)cancel")
        self.assert_nothing_was_kept()

    def test_a_device_cancelled_by_ctrl_c(self):
        self.configure()
        terminal = self.terminal()
        terminal.types("bearerd login --device")
        terminal.sees(r"\b[A-Z]{4}-[A-Z]{4}\b")
        terminal.presses(CTRL_C)
        self.assert_ends(terminal, 130, "(?i)cancel")

    def test_denied_and_cancelled_in_the_browser(self):
        self.configure()
        for button in ("Deny", "Cancel"):
            with self.subTest(button):
                person = self.person(["press", button], ["audit"])
                code, said = self.login(person=person)
                self.assertEqual(code, 77, said)
                self.assert_says(said, "access_denied|denied")
                seen = person.seen()
                self.assertTrue(seen["url"].startswith("http://127.0.0.1:"), seen)
                self.assert_says(seen["text"], "(?i)not signed in|denied|refused")
                self.assert_is_accessible(seen)
                self.assert_nothing_was_kept()

    def test_a_device_that_is_denied(self):
        self.configure()
        terminal = self.terminal()
        terminal.types("bearerd login --device")
        page, code = self.device(terminal)
        self.person(["press", "No"], ["see", "Your device is told"]).goes_to(f"{page}?user_code={code}")
        self.assert_ends(terminal, 77, "(?i)denied")
        self.assert_nothing_was_kept()

    def test_nobody_comes(self):
        self.configure()
        for way in ("--no-browser", "--device"):
            with self.subTest(way):
                code, said = self.login(way, "--timeout", "1s")
                self.assertEqual(code, 77, said)
                self.assert_says(said, "(?i)nobody|timed out|in time|within 1")
                self.assert_nothing_was_kept()

    def test_a_state_that_is_not_ours(self):
        self.configure()
        person = self.person(["rewrite", "state", "forged"], *SIGNS_IN)
        before = self.grants()
        code, said = self.login("--timeout", "20s", person=person)
        self.assertEqual(code, 77, said)
        self.assert_says(said, "(?i)state")
        self.assertEqual(self.grants(), before, "the code was never redeemed")
        seen = person.seen()
        self.assert_says(seen["text"], "Not signed in")
        self.assert_nothing_was_kept()

    def test_a_redirect_uri_that_the_server_refuses_is_told_in_the_terminal(self):
        self.configure("fixed")
        person = self.person()
        code, said = self.login(person=person)
        self.assertEqual(code, 78, said)
        self.assert_says(said, r"redirect_uri_refused")
        self.assert_says(said, r"http://127\.0\.0\.1:\d+/callback")
        self.assertFalse((person.folder / "said").exists(), "no browser was opened")

    def test_no_refresh_token_is_granted(self):
        self.configure("brief")
        person = self.person(*SIGNS_IN)
        code, said = self.login(person=person)
        self.assertEqual(code, 77, said)
        self.assert_says(said, "refresh token")
        self.assert_says(said, "offline_access|grant")
        self.assert_nothing_was_kept()


class Clients(SigningIn):
    """What a server may insist on."""

    def assert_signs_in(self, *arguments):
        person = self.person(*SIGNS_IN)
        before = self.grants()
        code, said = self.login(*arguments, person=person)
        self.assertEqual(code, 0, said)
        self.assertEqual(person.seen()["status"], 200)
        [grant] = self.server.report()["signIns"][before:]
        self.assertIsNotNone(grant["refresh"], grant)
        return person.opened()

    def test_a_fixed_redirect_uri_by_key_and_by_flag(self):
        port = self.server.told["redirect_port"]
        self.configure("fixed", f"redirect_port = {port}\n")
        self.assert_signs_in()
        self.configure("fixed")
        (self.folder / "state.json").unlink()
        self.assert_signs_in("--redirect-port", str(port))

    def test_over_ssh_another_device_signs_in(self):
        self.configure()
        terminal = self.terminal(SSH_CONNECTION="192.0.2.1 50000 192.0.2.2 22")
        terminal.types("bearerd login")
        self.device(terminal)
        terminal.sees("this is an SSH session")
        terminal.sees(r"bearerd login\s+--no-browser")
        terminal.presses(CTRL_C)
        self.assertEqual(terminal.ends()[0], 130)

    def test_pushed_requests(self):
        self.configure("pushed")
        opened = self.assert_signs_in()
        self.assertIn("request_uri=", opened)
        self.assertNotIn("code_challenge", opened)
