"""The main job: under steady load nobody ever notices that access tokens live for 10 s and refresh tokens rotate."""

import os
import tempfile
import time

from load import RATE, Load
from peers import Bearerd, Peers, call, configure, wait_until

SECONDS = int(os.environ["INTEROP_LOAD_SECONDS"])
LIFE = 10  # of an access token, in seconds
# 36 to 48 redeems in three minutes, and as many in proportion.
FEWEST, MOST = -(-SECONDS * 36 // 180), -(-SECONDS * 48 // 180)
APART = 3.5  # seconds between two redeems, at the least


class MainJob(Peers):
    def setUp(self):
        """A grant of its own for each test, in a folder of its own."""
        self.folder = self.enterContext(tempfile.TemporaryDirectory(prefix="bearerd-interop-"))
        self.seed = self.server.seed()
        self.earlier = self.server.report()
        self.rejected = len(self.upstream.report()["rejected"])
        configure(self.folder, self.server, self.upstream, self.seed["refresh_token"])

    def start(self):
        bearerd = Bearerd.configured(self.folder)
        self.addCleanup(bearerd.stop)
        bearerd.wait_until_ready()
        return bearerd

    def redeems(self):
        return self.server.report()["redeems"][len(self.earlier["redeems"]) :]

    def assert_grant_is_well(self):
        """Each redeem presents what the one before was given: nothing is lost, nothing comes twice."""
        report, redeems = self.server.report(), self.redeems()
        self.assertEqual(report["reuse"], self.earlier["reuse"])
        self.assertEqual(report["revoked"], self.earlier["revoked"])
        self.assertEqual(report["errors"], self.earlier["errors"])
        presented = [redeem["presented"] for redeem in redeems]
        issued = [self.seed["fingerprint"]] + [redeem["issued"] for redeem in redeems]
        self.assertEqual(presented, issued[:-1])
        self.assertEqual(self.upstream.report()["rejected"][self.rejected :], [])

    def test_1_nobody_notices_under_steady_load(self):
        before = self.upstream.report()["requests"]
        bearerd = self.start()
        load = Load(bearerd.addresses["proxy"], SECONDS).run()
        redeems = self.redeems()
        arrived = self.upstream.report()["requests"] - before
        gaps = [later["at"] - sooner["at"] for sooner, later in zip(redeems, redeems[1:])]
        print(
            f"\n    {load.sent} requests in {SECONDS} s, {len(load.failures)} failed; {len(redeems)} redeems,"
            f" {min(gaps, default=0):.2f} to {max(gaps, default=0):.2f} s apart ... ",
            end="",
            flush=True,
        )
        self.assertEqual(load.failures, [])
        self.assertGreater(load.sent, SECONDS * RATE * 0.8, "the load was not the one that was meant")
        self.assertEqual(arrived, load.sent)
        self.assertTrue(FEWEST <= len(redeems) <= MOST, f"{len(redeems)} redeems, not {FEWEST} to {MOST}")
        self.assertGreaterEqual(min(gaps), APART)
        self.assert_grant_is_well()
        self.assertEqual(bearerd.stop(), 0, bearerd.story("was asked to end"))

    def test_2_a_restart_goes_on_with_the_stored_access_token(self):
        bearerd = self.start()
        known = len(self.redeems())
        wait_until("the token is renewed", lambda: len(self.redeems()) > known)
        self.assertEqual(bearerd.stop(), 0, bearerd.story("was asked to end"))
        stopped_with = self.redeems()
        bearerd = self.start()
        status, answer = call(bearerd.url + "/after-restart")
        self.assertEqual((status, answer["token"]), (200, stopped_with[-1]["access"]))
        self.assertEqual(self.redeems(), stopped_with, "a stored access token that is good needs no refresh")
        wait_until("the token is renewed in its time", lambda: len(self.redeems()) > len(stopped_with))
        self.assert_grant_is_well()

    def test_3_after_a_standstill_the_rotated_refresh_token_is_redeemed_never_the_seed(self):
        bearerd = self.start()
        self.assertEqual(bearerd.stop(), 0, bearerd.story("was asked to end"))
        stopped_with = self.redeems()
        time.sleep(LIFE + 2)
        bearerd = self.start()
        status, answer = call(bearerd.url + "/after-standstill")
        redeems = self.redeems()
        self.assertEqual((status, len(redeems)), (200, len(stopped_with) + 1))
        self.assertEqual(answer["token"], redeems[-1]["access"])
        self.assert_grant_is_well()
