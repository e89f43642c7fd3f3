"""The schema of proxy.toml, in the hands of the validators that people use: it passes what is good and stops what it can."""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

from peers import ROOT

CONFIGS = ROOT / "tests" / "configs"
# What no schema can see, in one word each: it needs what the environment may add, what two values are beside each other,
# or what is on this machine.
OUT_OF_REACH = {
    "actor_type_without_actor": "environment",
    "auth_without_secret": "environment",
    "certificate_without_key": "environment",
    "credential_in_a_shell": "environment",
    "dpop_key_without_dpop": "environment",
    "duplicate_route": "comparison",
    "exchange_without_subject": "environment",
    "jwt_bearer_without_assertion": "environment",
    "key_auth_without_key": "environment",
    "key_id_without_key": "environment",
    "no_client": "environment",
    "nothing": "environment",
    "plaintext_upstream": "environment",
    "roots_without_file": "environment",
    "same_address": "comparison",
    "same_port": "comparison",
    "tls_auth_without_certificate": "environment",
    "unknown_grant": "comparison",
    "unset_variable": "machine",
}


def tool(name):
    return str(pathlib.Path(sys.executable).with_name(name))


def run(command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    return done.returncode == 0, done.stdout + done.stderr


def blocks(path):
    """The blocks of TOML on a page."""
    return re.findall(r"^```toml\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL)


class Schema(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.path = pathlib.Path(cls.folder.name)
        cls.schema = cls.path / "proxy.schema.json"
        printed = subprocess.run([os.environ["BEARERD_BIN"], "config", "schema"], capture_output=True, check=True)
        cls.schema.write_bytes(printed.stdout)

    def written(self, name, text):
        path = self.path / f"{name}.toml"
        path.write_text(text)
        return path

    def stopped(self, paths):
        """The files that each validator stops, by its name."""
        command = [tool("check-jsonschema"), "--output-format", "json", "--schemafile", self.schema, *paths]
        _, said = run(command)
        report = json.loads(said)
        faults = report["errors"] + report.get("parse_errors", [])
        lint = [tool("taplo"), "lint", "--no-auto-config", "--schema", self.schema.as_uri()]
        return {
            "check-jsonschema": {fault["filename"] for fault in faults},
            "taplo": {str(path) for path in paths if not run([*lint, path])[0]},
        }

    def good(self):
        yield "proxy", ROOT / "proxy.toml"
        for path in sorted((CONFIGS / "good").glob("*.toml")):
            yield path.stem, path
        yield "systemd", ROOT / "deploy" / "systemd" / "proxy.toml"
        manifest = (ROOT / "deploy" / "kubernetes" / "config.yaml").read_text()
        inside = manifest.split("proxy.toml: |\n")[1]
        yield "kubernetes", self.written("kubernetes", re.sub(r"^    ", "", inside, flags=re.MULTILINE))
        pages = [ROOT / "README.md", *sorted((ROOT / "src" / "manual").glob("**/*.md"))]
        for page in pages:
            for number, text in enumerate(blocks(page)):
                yield f"{page.stem}-{number}", self.written(f"{page.stem}-{number}", text)
        for place in ("any", "dev", "kubernetes", "legacy"):
            path = self.path / f"init-{place}.toml"
            init = [os.environ["BEARERD_BIN"], "config", "init", "--for", place, "--schema", path]
            subprocess.run(init, capture_output=True, check=True)
            yield path.stem, path

    def test_the_schema_is_one(self):
        self.assertTrue(*run([tool("check-jsonschema"), "--check-metaschema", self.schema]))

    def test_every_good_configuration_passes(self):
        paths = dict(self.good())
        self.assertGreaterEqual(len(paths), 14, paths)
        for validator, stopped in self.stopped(paths.values()).items():
            self.assertEqual(stopped, set(), validator)

    def test_the_whole_reference_passes_with_every_key_live(self):
        """Each key of proxy.toml with the default or example that the file shows, one at a time."""
        section, paths = "", []
        for line in (ROOT / "proxy.toml").read_text().splitlines():
            live = line.removeprefix("# ")
            if re.fullmatch(r"\[+[a-z_]+\]+", live):
                section = live
            elif re.match(r"[a-z0-9_]+ = ", live):
                text = f"{section}\n{live}\n"
                if section == "[[route]]" and not live.startswith("upstream"):
                    text += 'upstream = "https://h"\n'
                paths.append(self.written(f"live-{len(paths)}", text))
        self.assertGreater(len(paths), 70)
        passed, said = run([tool("check-jsonschema"), "--schemafile", self.schema, *paths])
        self.assertTrue(passed, said)

    def test_every_bad_configuration_is_stopped_but_for_those_out_of_reach(self):
        names = {path.stem for path in (CONFIGS / "bad").glob("*.toml")}
        self.assertEqual(set(OUT_OF_REACH) - names, set(), "each is there")
        paths = [CONFIGS / "bad" / f"{name}.toml" for name in sorted(names)]
        for validator, stopped in self.stopped(paths).items():
            passed = names - {pathlib.Path(path).stem for path in stopped}
            self.assertEqual(passed, set(OUT_OF_REACH), validator)
