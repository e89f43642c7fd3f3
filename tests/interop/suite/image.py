"""The image, built from its Dockerfile and run as a Pod would run it: process 1, not root, on a read-only root."""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import threading

from peers import PATIENCE, ROOT, VERBOSE, Bearerd, wait_until

BUNDLE = pathlib.Path("/etc/ssl/certs/ca-certificates.crt")
USER = 65532
# What a container runtime does before the program starts. $1 is the image's root, $2 the claim.
CONTAINER = """
set -e
mount --bind "$1" "$1"
mount -t proc proc "$1/proc"
mount --bind "$2" "$1/var/lib/bearerd"
mount -o remount,bind,ro "$1"
shift 2
exec "$@"
"""
NAMESPACES = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]


def run(*command):
    done = subprocess.run([str(part) for part in command], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{command} ended with {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout


def obstacle():
    """Why this machine cannot do it; nothing when it can."""
    if os.geteuid() != 0:
        return "containers are made by root here"
    if not BUNDLE.exists():
        return f"no {BUNDLE} to put into the image"
    if subprocess.run([*NAMESPACES, "true"], capture_output=True).returncode != 0:
        return "this machine gives no namespaces"
    return None


class Image:
    """Built in a folder of its own, mounted at `root`."""

    def __init__(self, folder, binary):
        self.folder = pathlib.Path(folder)
        context = self.folder / "context"
        (context / "state" / "bearerd").mkdir(parents=True)
        shutil.copy(binary, context / "bearerd")
        shutil.copy(BUNDLE, context)
        file = ROOT / "deploy" / "Dockerfile"
        self._buildah("bud", "--isolation", "chroot", "--format", "docker", "--file", file, "--tag", "bearerd", context)
        self.config = json.loads(self._buildah("inspect", "--type", "image", "bearerd"))["Docker"]["config"]
        self.container = self._buildah("from", "--pull-never", "bearerd").strip()
        self.root = pathlib.Path(self._buildah("mount", self.container).strip())

    def _buildah(self, *arguments):
        places = ("--root", self.folder / "storage", "--runroot", self.folder / "run")
        return run("buildah", *places, "--storage-driver", "vfs", *arguments)

    def remove(self):
        self._buildah("rm", self.container)
        self._buildah("rmi", "--force", "bearerd")

    def command(self, *arguments):
        return ["chroot", f"--userspec={USER}:{USER}", f"--groups={USER}", self.root, "/bearerd", *arguments]


class Container(Bearerd):
    """bearerd as process 1 of an image; `claim` is the folder that outlives it."""

    def __init__(self, image, claim):
        self.image = image
        super().__init__([*NAMESPACES, "sh", "-c", CONTAINER, "sh", image.root, claim, *image.command("run", *VERBOSE)])

    def stop(self, how=signal.SIGTERM, patience=40):
        """The signal goes to process 1, whose exit code is that of the whole."""
        if self.child.poll() is None:
            children = f"/proc/{self.child.pid}/task/{self.child.pid}/children"
            for child in pathlib.Path(children).read_text().split():
                os.kill(int(child), how)
        try:
            wait_until("the container has ended", lambda: self.child.poll() is not None, patience)
        finally:
            super().stop(signal.SIGKILL)
        return self.child.returncode


class Names:
    """A DNS server that knows one name, at an address of loopback that nobody else uses."""

    ADDRESS = "127.53.53.53"

    def __init__(self, name):
        self.question = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"
        self.asked = 0
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((self.ADDRESS, 53))
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        while True:
            query, client = self.socket.recvfrom(512)
            if query == b"end":
                return
            self.socket.sendto(self._answer(query), client)

    def _answer(self, query):
        """127.0.0.1 for an A question about our name, no record for AAAA, NXDOMAIN for all else (RFC 1035)."""
        end = query.index(b"\0", 12) + 1
        ours, kind = query[12:end].lower() == self.question, query[end : end + 2]
        self.asked += ours
        address = b"\xc0\x0c\0\x01\0\x01\0\0\0\0\0\x04\x7f\0\0\x01" if ours and kind == b"\0\x01" else b""
        code = b"\x80" if ours else b"\x83"
        return query[:2] + b"\x81" + code + b"\0\x01\0" + bytes([bool(address)]) + b"\0\0\0\0" + query[12 : end + 4] + address

    def stop(self):
        self.socket.sendto(b"end", (self.ADDRESS, 53))
        self.thread.join(PATIENCE)
        self.socket.close()
