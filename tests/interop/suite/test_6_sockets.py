"""systemd hands over the sockets that it holds, by name."""

import os
import pathlib
import re
import tempfile
import threading
import time

from peers import PATIENCE, ROOT, VERBOSE, Bearerd, Peers, Process, call, configure, free_port

SOCKET = ROOT / "deploy" / "systemd" / "bearerd.socket"


def activate(folder, address, name):
    """What systemd does for a .socket unit: it binds, and starts bearerd when the first caller comes."""
    command = [os.environ["BEARERD_BIN"], "run", "-c", pathlib.Path(folder) / "proxy.toml", *VERBOSE]
    return ["systemd-socket-activate", f"--listen={address}", f"--fdname={name}", *command]


class Sockets(Peers):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.name = re.search(r"^FileDescriptorName=(\w+)$", SOCKET.read_text(), re.MULTILINE)[1]

    def setUp(self):
        self.folder = self.enterContext(tempfile.TemporaryDirectory(prefix="bearerd-interop-"))
        self.port = free_port()
        seed = self.server.seed()["refresh_token"]
        configure(self.folder, self.server, self.upstream, seed, listen=f"fd:{self.name}")

    def knock(self):
        """The first caller comes, and waits; what it gets at last."""
        answers = []
        caller = threading.Thread(target=lambda: answers.append(self.ask()), daemon=True)
        caller.start()
        return caller, answers

    def ask(self):
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                return call(f"http://127.0.0.1:{self.port}/first")[0]
            except OSError as error:  # nobody has bound yet
                last = error
                time.sleep(0.02)
        return last

    def test_the_first_caller_waits_while_it_starts_and_is_answered(self):
        caller, answers = self.knock()
        bearerd = Bearerd(activate(self.folder, f"127.0.0.1:{self.port}", self.name))
        self.addCleanup(bearerd.stop)
        self.assertEqual(bearerd.addresses["proxy"], f"127.0.0.1:{self.port}")
        caller.join(PATIENCE)
        self.assertEqual(answers, [200])
        self.assertEqual(bearerd.stop(), 0, bearerd.story("was asked to end"))

    def test_another_name_ends_it_with_a_sentence(self):
        self.assertRegex(self.refusal("127.0.0.1", "web"), f"handed over web: set FileDescriptorName={self.name}")

    def test_a_socket_that_others_reach_ends_it_with_a_sentence(self):
        self.assertIn("would let others on the network spend the token", self.refusal("0.0.0.0", self.name))

    def refusal(self, host, name):
        self.knock()
        process = Process(activate(self.folder, f"{host}:{self.port}", name))
        self.addCleanup(process.stop)
        process.child.wait(PATIENCE)
        self.assertEqual(process.stop(), 78, process.story("ended"))
        return " ".join(process.printed)
