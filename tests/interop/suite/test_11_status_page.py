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

    def audit(self, state, says, grants=("default",), **shape):
        stage = self.stage(grants=grants, **shape)
        if state == "active":
            stage.is_(state)
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

    def test_axe_finds_nothing_on_a_page_that_starts(self):
        self.audit("starting", "Getting the first token", mood=None, timeout="10m")

    def test_axe_finds_nothing_when_the_configuration_does_not_work(self):
        says = "The configuration does not work: 2 of 2 grants"
        self.audit("misconfigured", says, grants=("default", "crm"), mood=(401, "invalid_client"))

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

    def test_a_sign_out_says_what_came_of_it(self):
        stage = self.stage()
        stage.is_("active")
        for script in (True, False):
            with self.subTest(script=script):
                stage.endpoint.mood = (503, "")
                failed = browse("signOut", stage, script=script)
                self.assertIn("Nothing is erased", failed["said"])
                self.assertIn("Requests get a token", failed["page"])
                stage.endpoint.mood = (200, "")
                done = browse("signOut", stage, script=script)
                self.assertIn("has revoked the refresh token, and it is erased here", done["said"])
                stage.is_("sign_in_required")
                self.assertIn("Sign-in needed", done["page"])
                if script:
                    # A new seed is as good as a sign-in.
                    (stage.home / "default.seed").write_text("another-refresh-token")
                    stage.act("grants/default/look")
                    stage.is_("active")

    def test_a_pause_loses_nothing_and_hides_nothing(self):
        stage = self.stage()
        stage.is_("active")
        seen = browse("pause", stage, proxy=stage.proxy)
        self.assertEqual((seen["link"], seen["button"]), ("Live, requests paused", "Resume"))
        self.assertNotIn("/while-paused", seen["paused"])
        self.assertIn("/while-paused", seen["resumed"])
        self.assertEqual(seen["again"], "Live")
        self.assertIn("does not answer", seen["lost"], "a pause mends no link")

    def test_tabs_that_nobody_sees_keep_no_connection(self):
        stage = self.stage()
        stage.is_("active")
        seen = browse("tabs", stage)
        self.assertEqual((seen["live"], seen["kept"]), (9, True))

    def test_one_page_too_many_says_so_and_waits_for_room(self):
        stage = self.stage()
        stage.is_("active")
        seen = browse("crowd", stage)
        self.assertIn("So many of these pages are open", seen["full"])
        self.assertEqual(seen["room"], "Live")

    def test_a_reload_brings_an_open_page_up_to_date(self):
        stage = self.stage()
        stage.is_("active")
        toml = (stage.home / "proxy.toml").read_text()
        (stage.home / "proxy.toml").write_text(toml.replace('path = "/"', 'path = "/moved"'))
        seen = browse("reload", stage)
        self.assertEqual((seen["before"], seen["after"]), (False, True))

    def test_the_keyboard_reaches_every_action(self):
        stage = self.stage()
        stage.is_("active")
        before = stage.status()["grants"][0]["attempts"]
        seen = browse("keyboard", stage)
        names = [here["name"] for here in seen["reached"]]
        actions = ("Refresh now", "Sign in again", "Copy", "Sign out", "Sign out of default", "Pause", "Status as JSON")
        for name in actions:
            self.assertIn(name, names)
        self.assertTrue(all(here["seen"] for here in seen["reached"]), "the focus can be seen")
        self.assertEqual(seen["open"], 2)
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
                self.assertEqual((attempt["events"], attempt["form"]), ("nothing", 403))
                self.assertEqual(attempt["framed"]["status"], 403)
                self.assertNotIn("default", attempt["framed"]["text"])
                self.assertEqual(attempt["link"]["status"], 403)
                self.assertNotIn("default", attempt["link"]["text"])
                if attempt["target"] == stage.page:
                    self.assertIn("Another site's link led here", attempt["link"]["text"])
                    self.assertEqual((attempt["link"]["on"], attempt["link"]["leads"]), (stage.page, True))
        self.assertEqual(seen["rebound"]["status"], 403)
        self.assertNotIn("default", seen["rebound"]["text"])
        self.assertIsNone(stage.bearerd.child.poll(), "nobody has ended it")
        self.assertEqual(stage.status()["grants"][0]["attempts"], before)


if __name__ == "__main__":
    unittest.main()
