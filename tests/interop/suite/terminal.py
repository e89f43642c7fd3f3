"""A terminal with a shell in it, as a person has one: what is typed there and what is seen, kept for who wants to read it."""

import codecs
import fcntl
import os
import pathlib
import pty
import re
import select
import signal
import struct
import termios
import time

from peers import PATIENCE, ROOT, found, running_servers

PROMPT = "you$ "
# Before each prompt the shell tells the last exit code in a sequence that no terminal shows.
TELLS = "printf '\\e]9;exit %s\\a' $?"
EXIT_CODE = re.compile(r"\x1b\]9;exit (\d+)\x07")
REWRITTEN = re.compile(r"[^\n]*\r\x1b\[2K")  # a line that another is written over
ESCAPES = re.compile(r"\x1b\[\?2004l\r|\x1b(?:\[[0-9;?]*[A-Za-z]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[()][A-Z0-9])")


def recordings():
    """Where what was seen is kept."""
    built = os.environ.get("CARGO_TARGET_DIR") or ROOT / "target"
    folder = pathlib.Path(built) / "interop"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class Terminal:
    """A shell in a folder, on a pseudo-terminal of 100 columns. Ctrl-C is a key of it."""

    def __init__(self, folder, env):
        self.seen, self.at = "", 0  # all that came, and where what was typed last begins to be answered
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.pid, self.keys = pty.fork()
        if self.pid == 0:
            # Before the shell is there: it writes its prompt again when the size of its terminal changes.
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
            os.chdir(folder)
            shell = {"PS1": PROMPT, "PROMPT_COMMAND": TELLS, "TERM": "xterm-256color"}
            os.execvpe("bash", ["bash", "--norc", "--noprofile", "-i"], {**env, **shell})
        self.ends()

    def types(self, line):
        """Types a line; what is seen from now on is looked at."""
        self.at = len(self.seen)
        os.write(self.keys, line.encode() + b"\n")

    def presses(self, key):
        """Presses a key that is no line, such as Ctrl-C."""
        os.write(self.keys, key.encode())

    def runs(self, line, patience=PATIENCE):
        """Types a command and waits for its end; its exit code, and what was seen meanwhile."""
        self.types(line)
        return self.ends(patience)

    def ends(self, patience=PATIENCE):
        """Waits for the end of what was typed; its exit code, and what was seen meanwhile."""
        # A prompt alone may be the one before, drawn again.
        code = self._waits(lambda: EXIT_CODE.search(self.seen, self.at), patience, "the end of what was typed")
        self.sees(re.escape(PROMPT) + "$", patience)
        return int(code.group(1)), self.text(self.at)

    def sees(self, pattern, patience=PATIENCE):
        """Waits until this is seen, after what was typed last."""
        return self._waits(lambda: re.search(pattern, self.text(self.at), re.MULTILINE), patience, pattern)

    def _waits(self, what, patience, name):
        deadline = time.monotonic() + patience
        while not (match := what()):
            self._read(deadline - time.monotonic(), name)
        return match

    def _read(self, patience, pattern):
        ready, _, _ = select.select([self.keys], [], [], max(0.0, patience))
        if not ready:
            raise AssertionError(f"did not see {pattern} in:\n{self.text()}")
        try:
            self.seen += self.decoder.decode(os.read(self.keys, 65536))
        except OSError:
            raise AssertionError(f"the terminal is closed; it did not see {pattern} in:\n{self.text()}") from None

    def text(self, begin=0):
        """What is seen in the end: without colours and other escapes, and without what was written over."""
        lasting = ESCAPES.sub("", REWRITTEN.sub("", self.seen[begin:]))
        return re.sub(r"\r*\n", "\n", lasting).replace("\r", "\n")

    def closes(self, recording=None):
        """Hangs up, which ends what runs in it; keeps what was seen, and has seen no secret in it."""
        text = self.text()
        try:
            os.kill(self.pid, signal.SIGHUP)
            os.close(self.keys)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass
        if recording:
            (recordings() / f"{recording}.txt").write_text(text)
        secrets = [secret for server in running_servers for secret in server.secrets()]
        told = found(text, secrets)
        assert told is None, f"the terminal showed the secret {told}:\n{text}"
