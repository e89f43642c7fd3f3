"""The image runs what deploy/kubernetes says, with nothing around it but what the kubelet brings."""

import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

import yaml

from image import USER, Container, Image, Names, obstacle, run
from peers import CLIENT, ROOT, AuthorizationServer, Upstream, call, free_port

BY_FILE, BY_DNS = "by-file.test", "by-dns.test"
# In place of the ConfigMap's one upstream: two that have to be looked up.
ROUTES = """
[[route]]
path = "/file"
upstream = "http://{by_file}:{port}"
allow_plaintext_upstream = true

[[route]]
path = "/dns"
upstream = "http://{by_dns}:{port}"
allow_plaintext_upstream = true
"""


def proxy_toml(server, upstream, ports):
    """The ConfigMap's, with the addresses of this machine."""
    manifest = yaml.safe_load((ROOT / "deploy" / "kubernetes" / "config.yaml").read_text())
    text = manifest["data"]["proxy.toml"]
    changes = {
        "https://id.example.com": server.issuer,
        "# client_secret =": "client_secret =",  # the server's client is not public
        '"localhost:8080"': f'"localhost:{ports[0]}"',
        '"0.0.0.0:9902"': f'"0.0.0.0:{ports[1]}"',
        'upstream = "https://api.example.com"': "",
    }
    for ours, theirs in changes.items():
        assert text.count(ours) == 1, ours
        text = text.replace(ours, theirs)
    port = upstream.url.rpartition(":")[2]
    return text + '[admin]\nlisten = "off"\n' + ROUTES.format(by_file=BY_FILE, by_dns=BY_DNS, port=port)


def place(root, path, text, mode=0o444):
    """A file as a volume brings it: root's, and of the Pod's group."""
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(mode)
    os.chown(file, 0, USER)


class InAPod(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if reason := obstacle():
            raise unittest.SkipTest(f"SKIPPED: {reason}")
        cls.server = AuthorizationServer()
        cls.addClassCleanup(cls.server.stop)
        cls.upstream = Upstream(cls.server)
        cls.addClassCleanup(cls.upstream.stop)
        cls.names = Names(BY_DNS)
        cls.addClassCleanup(cls.names.stop)
        folder = cls.enterClassContext(tempfile.TemporaryDirectory(prefix="bearerd-interop-"))
        cls.image = Image(folder, os.environ["BEARERD_STATIC_BIN"])
        cls.addClassCleanup(cls.image.remove)
        cls.pristine = {path.relative_to(cls.image.root): path.lstat() for path in cls.image.root.rglob("*")}
        cls.claim = pathlib.Path(folder, "claim")
        cls.claim.mkdir()
        os.chown(cls.claim, 0, USER)
        cls.claim.chmod(0o2775)  # as fsGroup leaves it
        cls.furnish(cls.server.seed()["refresh_token"])

    @classmethod
    def furnish(cls, seed):
        """What the kubelet brings."""
        root = cls.image.root
        place(root, "etc/bearerd/proxy.toml", proxy_toml(cls.server, cls.upstream, (free_port(), free_port())))
        place(root, "run/secrets/bearerd/client_secret", CLIENT[1], 0o440)
        place(root, "run/secrets/bearerd/refresh_token", seed, 0o440)
        place(root, "etc/hosts", f"127.0.0.1 localhost {BY_FILE}\n")
        place(root, "etc/resolv.conf", f"nameserver {Names.ADDRESS}\noptions timeout:2 attempts:2\n")
        (root / "proc").mkdir()

    def test_1_it_holds_a_binary_a_bundle_and_an_empty_private_folder(self):
        files = {str(path): oct(found.st_mode & 0o7777) for path, found in self.pristine.items() if not path.suffix == ""}
        self.assertEqual(files, {"etc/ssl/certs/ca-certificates.crt": "0o644"})
        names = {str(path) for path in self.pristine if path.suffix == ""}
        self.assertEqual(names, {"bearerd", "etc", "etc/ssl", "etc/ssl/certs", "var", "var/lib", "var/lib/bearerd"})
        state = self.pristine[pathlib.Path("var/lib/bearerd")]
        self.assertEqual((state.st_uid, state.st_gid, oct(state.st_mode & 0o7777)), (USER, USER, "0o700"))

    def test_2_its_settings_are_what_runtimes_look_for(self):
        config = self.image.config
        self.assertEqual((config["User"], config["StopSignal"]), (f"{USER}:{USER}", "SIGTERM"))
        self.assertEqual((config["Entrypoint"], config["Cmd"]), (["/bearerd"], ["run"]))
        self.assertEqual(config["Env"], ["PATH=/"])
        self.assertEqual(config["Healthcheck"]["Test"], ["CMD", "/bearerd", "healthcheck"])

    def test_3_process_1_finds_names_by_file_and_by_dns_keeps_its_state_and_ends_when_told(self):
        container = Container(self.image, self.claim)
        self.addCleanup(container.stop)
        container.wait_until_ready()
        self.assertEqual(call(container.url + "/file")[0], 200)
        self.assertEqual(self.names.asked, 0)
        self.assertEqual(call(container.url + "/dns")[0], 200)
        self.assertGreater(self.names.asked, 0)
        run(*self.image.command("healthcheck", "--ready"))
        self.assertEqual(container.stop(), 0, container.story("was asked to end"))
        record = (self.claim / "state.json").stat()
        self.assertEqual((record.st_uid, oct(record.st_mode & 0o777)), (USER, "0o600"))
        self.assertEqual(self.server.report()["reuse"], 0)

    def test_4_the_next_container_goes_on_where_the_last_one_ended(self):
        redeems = len(self.server.report()["redeems"])
        self.assertGreater(redeems, 0, "the one before has run")
        container = Container(self.image, self.claim)
        self.addCleanup(container.stop)
        container.wait_until_ready()
        self.assertEqual(call(container.url + "/file")[0], 200)
        report = self.server.report()
        self.assertEqual((report["reuse"], report["errors"]), (0, []))
        self.assertLessEqual(len(report["redeems"]), redeems + 1)

    def test_5_it_is_found_by_its_name(self):
        """As `kubectl exec … -- bearerd status` would start it."""
        env = dict(setting.split("=", 1) for setting in self.image.config["Env"])
        exec_in = [shutil.which("chroot"), f"--userspec={USER}:{USER}", self.image.root, "bearerd", "version"]
        done = subprocess.run(exec_in, env=env, capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("bearerd", done.stdout)

    def test_6_it_is_unhealthy_when_it_does_not_run(self):
        with self.assertRaisesRegex(AssertionError, "ended with 1"):
            run(*self.image.command("healthcheck"))
