"""A person with a browser: real Chromium that follows a script of steps (see browser.mjs), by itself or as `$BROWSER`."""

import json
import pathlib
import shlex
import subprocess
import tempfile

from peers import INTEROP, PATIENCE, chromium, wait_until


class Person:
    """Somebody who will do these steps at whatever URL the browser is given."""

    def __init__(self, *steps):
        self._folder = tempfile.TemporaryDirectory(prefix="bearerd-browser-")
        self.folder = pathlib.Path(self._folder.name)
        self.command = ["node", INTEROP / "suite" / "browser.mjs", chromium(), self.folder, json.dumps(steps)]
        self.child = None

    def program(self):
        """A program to be named in `$BROWSER`: it is given the URL last, notes it, and does the steps."""
        words = " ".join(shlex.quote(str(word)) for word in self.command)
        path = self.folder / "browser"
        said = shlex.quote(str(self.folder / "said"))
        path.write_text(f'#!/bin/sh\nfor url; do :; done\nprintf "%s\\n" "$url" >>{said}\nexec {words} "$url" 2>>{said}\n')
        path.chmod(0o755)
        return path

    def opened(self):
        """The URL that `$BROWSER` was given, once it was."""
        said = self.folder / "said"
        text = wait_until("the browser is opened", lambda: said.exists() and said.read_text())
        return text.splitlines()[0]

    def goes_to(self, url):
        """Does the steps there, to the end."""
        done = subprocess.run([*self.command, url], capture_output=True, text=True, timeout=3 * PATIENCE)
        assert done.returncode == 0, done.stderr
        return self.seen()

    def seen(self):
        """What the browser shows in the end: `url`, `title`, `text`, `status`."""
        path = self.folder / "seen.json"
        wait_until("the browser is done", path.exists, 3 * PATIENCE)
        seen = json.loads(path.read_text())
        assert "error" not in seen, seen
        return seen

    def screenshot(self):
        """The picture of that, as PNG."""
        return (self.folder / "seen.png").read_bytes()

    def leaves(self):
        """Nothing of the browser stays."""
        self._folder.cleanup()
