"""The measure itself: the authorization server rotates and punishes reuse, and the upstream notices every bad token."""

import time

from peers import Peers, call, disguises, found


class Measure(Peers):
    def test_a_refresh_token_is_good_once_and_kills_its_grant_the_second_time(self):
        seed = self.server.seed()["refresh_token"]
        before = self.server.report()
        status, first = self.server.redeem(seed)
        self.assertEqual((status, first["expires_in"]), (200, 10))
        self.assertNotEqual(first["refresh_token"], seed)
        status, second = self.server.redeem(first["refresh_token"])
        self.assertEqual(status, 200)
        self.assertEqual(self.server.redeem(first["refresh_token"])[1]["error"], "invalid_grant")
        self.assertEqual(self.server.redeem(second["refresh_token"])[1]["error"], "invalid_grant")
        self.assertFalse(self.server.is_active(second["access_token"]))
        after = self.server.report()
        self.assertEqual(len(after["redeems"]) - len(before["redeems"]), 2)
        self.assertEqual(after["reuse"] - before["reuse"], 1)

    def test_the_upstream_rejects_no_token_a_foreign_one_and_one_that_has_expired(self):
        token = self.server.redeem(self.server.seed()["refresh_token"])[1]["access_token"]
        asked = time.monotonic()
        ours = {"Authorization": f"Bearer {token}"}
        self.assertEqual(call(self.upstream.url, headers=ours)[0], 200)
        self.assertEqual(call(self.upstream.url)[0], 401)
        self.assertEqual(call(self.upstream.url, headers={"Authorization": "Bearer made-up"})[0], 401)
        time.sleep(max(0.0, asked + 10.5 - time.monotonic()))
        self.assertEqual(call(self.upstream.url, headers=ours)[0], 401)
        rejected = [one["reason"] for one in self.upstream.report()["rejected"]]
        self.assertEqual(rejected, ["no token", "inactive", "inactive"])

    def test_a_secret_is_found_in_every_disguise(self):
        secrets = self.server.redeem(self.server.seed()["refresh_token"])[1]
        secret = secrets["refresh_token"]
        self.assertIn(secret, self.server.secrets())
        self.assertIsNone(found("a line with nothing in it", self.server.secrets()))
        for shape in disguises(secret):
            self.assertEqual(found(f"a line with {shape} in it", self.server.secrets()), secret, shape)
