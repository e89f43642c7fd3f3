"""What deploy/ offers is accepted by those who will read it."""

import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

from peers import ROOT

KUBERNETES = ROOT / "deploy" / "kubernetes"
UNIT = ROOT / "deploy" / "systemd" / "bearerd.service"
SOCKET = UNIT.with_suffix(".socket")


def run(*command):
    done = subprocess.run([str(part) for part in command], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout + done.stderr


def validate(version, files):
    tool = pathlib.Path(sys.executable).with_name("kubernetes-validate")
    return run(tool, "--strict", "-k", version, *files)


class Kubernetes(unittest.TestCase):
    def manifests(self):
        return sorted(path for path in KUBERNETES.glob("*.yaml") if path.name != "kustomization.yaml")

    def test_the_manifests_are_valid_from_the_first_version_with_sidecars_to_the_newest(self):
        for version in ("1.29", "1.33", "1.37"):
            with self.subTest(version=version):
                code, said = validate(version, self.manifests())
                self.assertEqual(code, 0, said)
                self.assertEqual(said.count(" passed for resource "), len(self.manifests()), said)

    def test_a_misspelt_key_would_be_found(self):
        with tempfile.TemporaryDirectory() as folder:
            broken = pathlib.Path(folder) / "deployment.yaml"
            broken.write_text((KUBERNETES / "deployment.yaml").read_text().replace("fsGroup:", "fsGruop:"))
            self.assertNotEqual(validate("1.37", [broken])[0], 0)

    def test_the_kustomization_names_every_manifest_but_the_seed(self):
        named = re.findall(r"^  - (\S+)$", (KUBERNETES / "kustomization.yaml").read_text(), re.MULTILINE)
        self.assertEqual(sorted([*named, "seed.yaml"]), [path.name for path in self.manifests()])


class Systemd(unittest.TestCase):
    def verify(self, text):
        """`systemd-analyze verify` with the binary where the machine has one; it warns with exit code 0."""
        with tempfile.TemporaryDirectory() as folder:
            units = [pathlib.Path(folder) / name for name in (UNIT.name, SOCKET.name)]
            for unit, words in zip(units, (text, SOCKET.read_text())):
                unit.write_text(words.replace("/usr/local/bin/bearerd", shutil.which("true")))
            return run("systemd-analyze", "verify", "--man=no", *units)

    def test_the_units_are_accepted_without_a_word(self):
        self.assertEqual(self.verify(UNIT.read_text()), (0, ""))

    def test_a_misspelt_key_would_be_found(self):
        self.assertIn("StateDirectroy", self.verify(UNIT.read_text().replace("StateDirectory=", "StateDirectroy="))[1])

    def test_the_unit_is_locked_up(self):
        code, said = run("systemd-analyze", "security", "--offline=yes", "--threshold=20", UNIT)
        self.assertEqual(code, 0, said)
