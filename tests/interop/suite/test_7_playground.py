"""The README's first command: what it tells a person to try works, through three renewals and more."""

import pathlib
import queue
import re
import shlex
import signal
import subprocess
import tempfile
import time
import unittest

from peers import PATIENCE, ROOT, Process

BUILDS = 300  # seconds that the build of the first command may take
RENEWALS = 4


class Playground(unittest.TestCase):
    def setUp(self):
        self.playground = Process(["cargo", "run", "--quiet", "--locked", "--example", "playground"], cwd=ROOT)
        self.addCleanup(self.playground.stop)
        self.said = ""

    def told(self, pattern, patience):
        """Reads on until the pattern is in what was said; every find."""
        deadline = time.monotonic() + patience
        while not (found := re.findall(pattern, self.said, re.MULTILINE)):
            try:
                line = self.playground.output.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                self.fail(self.playground.story(f"did not say {pattern}"))
            self.assertIsNotNone(line, self.playground.story("ended"))
            self.said += line
        return found

    def curl(self, command):
        done = subprocess.run(
            [*shlex.split(command), "--silent", "--noproxy", "*"], capture_output=True, text=True, timeout=PATIENCE
        )
        self.assertEqual(done.returncode, 0, f"{command}: {done.stderr}")
        return done.stdout

    def test_every_curl_it_prints_is_answered_through_three_renewals(self):
        self.told(r"Ctrl-C", BUILDS)
        tries = dict(re.findall(r"^  (curl .*?)  +(\S.*)$", self.said, re.MULTILINE))
        echo, upload, events, past = tries
        for renewal in range(1, RENEWALS + 1):
            [state] = self.told(rf"generation {renewal} .* saved in (.*)$", PATIENCE)
            self.assertRegex(self.curl(echo), r'"Bearer \S{20,}"')
        self.assertTrue(pathlib.Path(state).is_file())
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"x" * 1_000_000)
            file.flush()
            self.assertIn('"length":1000000', self.curl(upload.replace("FILE", file.name)))
        self.assertIn("401 Unauthorized", self.curl(past))
        self.playground.type("event\n")
        self.assertIn("data: event 0", self.first_event(events))
        self.playground.child.send_signal(signal.SIGINT)
        ending = self.told(r"^\d+ renewals; .*$", PATIENCE)[0]
        self.assertRegex(ending, "0 of them with an expired token.* 0 refresh tokens presented twice")

    def first_event(self, command):
        """What comes up to the end of the first event, which does not end the stream."""
        with subprocess.Popen([*shlex.split(command), "-s", "--noproxy", "*"], stdout=subprocess.PIPE, text=True) as curl:
            lines = [curl.stdout.readline() for _ in range(2)]
            curl.kill()
        return "".join(lines)
