"""Completions in a real shell, and pages in the hands of those who print them."""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

BEARERD = os.environ["BEARERD_BIN"]


def bearerd(*arguments):
    return subprocess.run([BEARERD, *arguments], capture_output=True, text=True, check=True).stdout


def run(*command, text=None):
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


class Completions(unittest.TestCase):
    def completed(self, *words):
        """What bash offers after these words."""
        script = f"""
            COMP_WORDS=({" ".join(f"'{word}'" for word in words)})
            COMP_CWORD={len(words) - 1}
            COMP_LINE="${{COMP_WORDS[*]}}" COMP_POINT=${{#COMP_LINE}}
            name=$(complete -p bearerd | sed 's/.*-F \\([^ ]*\\).*/\\1/')
            "$name" bearerd '{words[-1]}' '{words[-2]}'
            printf '%s\\n' "${{COMPREPLY[@]}}"
        """
        code, said = run("bash", "--norc", "-c", bearerd("completions", "bash") + script)
        self.assertEqual(code, 0, said)
        return said.split()

    def test_bash_completes_verbs_flags_and_words(self):
        self.assertEqual(self.completed("bearerd", "expl"), ["explain"])
        self.assertIn("--origin", self.completed("bearerd", "config", "show", "--or"))
        self.assertIn("kubernetes", self.completed("bearerd", "config", "init", "--for", ""))

    def test_the_other_shells_read_their_scripts(self):
        for shell, check in (("zsh", ["zsh", "-n"]), ("fish", ["fish", "--no-execute"])):
            with self.subTest(shell=shell), tempfile.TemporaryDirectory() as folder:
                script = pathlib.Path(folder) / "script"
                script.write_text(bearerd("completions", shell))
                self.assertIn("explain", script.read_text())
                if not shutil.which(shell):
                    self.skipTest(f"SKIPPED: no {shell} on this machine")
                self.assertEqual(run(*check, script), (0, ""))


class Man(unittest.TestCase):
    PAGES = {
        "bearerd": ("BEARERD(1)", "bearerd login", "One of any, kubernetes, dev, legacy", "Default: 10m"),
        "proxy.toml": ("PROXY.TOML(5)", "client_id", "A [[route]] may have it"),
    }

    def test_the_pages_are_printed_without_a_warning(self):
        if not shutil.which("mandoc"):
            self.skipTest("SKIPPED: no mandoc on this machine")
        for page, words in self.PAGES.items():
            with self.subTest(page=page):
                roff = bearerd("man", page)
                _, said = run("mandoc", "-T", "lint", "-W", "warning", text=roff)
                # A page that is made anew each time has no date.
                self.assertEqual([line for line in said.splitlines() if "missing date" not in line], [])
                _, shown = run("mandoc", "-T", "ascii", text=roff)
                # Bold is each letter twice, with a step back between.
                plain = re.sub(".\b", "", shown)
                for word in words:
                    self.assertIn(word, " ".join(plain.split()))
