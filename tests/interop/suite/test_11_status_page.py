"""The status page in a real browser: whoever looks, and however, sees all of it; other origins see and do nothing."""

import json
import subprocess
import unittest

import peers
from stage import Stage

LOOKS = 8  # light and dark, with and without script, narrow and wide


def browse(scenario, stage, **more):
    """What the browser has seen (page.mjs)."""
    job = json.dumps({"chromium": peers.chromium(), "page": stage.page, **more})
    command = ["node", str(peers.INTEROP / "page.mjs"), scenario, job]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode != 0:
        raise AssertionError(f"{scenario} ended with {done.returncode}: {done.stderr}")
    return json.loads(done.stdout)


class StatusPage(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        peers.chromium()

    def stage(self, **shape):
        stage = Stage(**shape)
        peers.running_servers.add(stage)
        self.addCleanup(lambda: (stage.close(), peers.running_servers.discard(stage)))
        return stage

    def audit(self, state, says, grants=("default",), life=1800):
        stage = self.stage(grants=grants, life=life)
        stage.is_("active")
        if state == "active":
            stage.revoke()
        stage.traffic(52)
        stage.brought_to(state)
        looks = browse("audit", stage)
        self.assertEqual(len(looks), LOOKS)
        for look in looks:
            with self.subTest(state=state, look=look["look"]):
                self.assertEqual(look["violations"], [])
                self.assertGreater(look["passes"], 25, "axe has looked")
                self.assertEqual((look["sideways"], look["headings"], look["complaints"]), (0, 1, []))
                self.assertGreaterEqual(look["rows"], 50)
                self.assertIn(says, look["text"])
                self.assertNotIn("canary", look["text"], "no query is shown")
        return looks

    def test_axe_finds_nothing_on_a_page_of_active_grants(self):
        looks = self.audit("active", "Requests get a token", grants=("default", "crm", "maps"))
        self.assertTrue(all("401, refreshed, 200" in look["text"] for look in looks))

    def test_axe_finds_nothing_on_a_degraded_page(self):
        self.audit("degraded", "Works, with a problem")

    def test_axe_finds_nothing_on_an_unavailable_page(self):
        self.audit("unavailable", "No usable token", life=8)

    def test_axe_finds_nothing_when_a_sign_in_is_needed(self):
        looks = self.audit("sign_in_required", "Sign-in needed")
        self.assertTrue(all("bearerd login -c " in look["text"] for look in looks))

    def test_a_refresh_shows_by_itself(self):
        stage = self.stage()
        stage.is_("active")
        seen = browse("live", stage)
        self.assertEqual((seen["after"], seen["stayed"]), (seen["before"] + 2, True))
        self.assertEqual((seen["focused"], seen["complaints"]), ("Sign in again", []))
        self.assertIn("default: Active.", seen["state"])

    def test_the_page_is_whole_without_a_script(self):
        stage = self.stage()
        stage.is_("active")
        seen = browse("plain", stage)
        self.assertEqual((seen["after"], seen["back"], seen["loads"]), (seen["before"] + 1, stage.page, 1))
        self.assertEqual(seen["command"], f"bearerd login -c {stage.home}/proxy.toml")
        self.assertNotIn("Copy", seen["buttons"], "nothing is shown that does nothing")

    def test_the_keyboard_reaches_every_action(self):
        stage = self.stage()
        stage.is_("active")
        before = stage.status()["grants"][0]["attempts"]
        seen = browse("keyboard", stage)
        names = [here["name"] for here in seen["reached"]]
        for name in ("Refresh now", "Sign in again", "Copy", "Pause", "Status as JSON"):
            self.assertIn(name, names)
        self.assertTrue(all(here["seen"] for here in seen["reached"]), "the focus can be seen")
        self.assertGreaterEqual(seen["open"], 1)
        peers.wait_until("a refresh", lambda: stage.status()["grants"][0]["attempts"] > before)

    def test_another_origin_can_neither_read_nor_act(self):
        stage = self.stage()
        stage.is_("active")
        before = stage.status()["grants"][0]["attempts"]
        seen = browse("strangers", stage)
        self.assertEqual(len(seen["attempts"]), 6)
        for attempt in seen["attempts"]:
            with self.subTest(origin=attempt["origin"], target=attempt["target"]):
                # `opaque` is all that a page is told of an answer that it may not read.
                self.assertLessEqual(set(attempt["read"] + attempt["acted"]), {"nothing", "opaque"})
                self.assertEqual((attempt["framed"], attempt["events"], attempt["form"]), (None, "nothing", 403))
        self.assertEqual(seen["rebound"]["status"], 403)
        self.assertNotIn("default", seen["rebound"]["text"])
        self.assertIsNone(stage.bearerd.child.poll(), "nobody has ended it")
        self.assertEqual(stage.status()["grants"][0]["attempts"], before)


if __name__ == "__main__":
    unittest.main()
