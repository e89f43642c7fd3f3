//! What has befallen other programs of this kind, and which tests show that it does not befall this one.

use super::Shown::{self, By};

/// An incident of somebody else's, by its report, and where ours is shown. Packaging is the interop suite's.
pub(super) const TABLE: [(&str, Shown); 18] = [
    (
        "a failed write after a rotation loses the refresh token (iron-proxy 178, claude-code 91571)",
        By(&[
            (
                "src/grant/refresher/tests.rs",
                &["a_rotation_that_cannot_be_saved_is_kept_and_published_once_the_old_token_is_gone"],
            ),
            (
                "tests/running/disks.rs",
                &["a_disk_that_fills_up_during_a_redeem_keeps_what_the_redeem_brings"],
            ),
        ]),
    ),
    (
        "an answer without a refresh token erases the one that is stored (codex 35327)",
        By(&[(
            "tests/refreshing/faults.rs",
            &[
                "without_rotation_no_fault_costs_the_grant",
                "a_truncated_answer_that_holds_the_new_refresh_token_loses_nothing",
            ],
        )]),
    ),
    (
        "the process dies between the answer and the write (oauth2 84, go 77502)",
        By(&[
            ("tests/running/kills.rs", &["the_grant_survives_every_kill_but_those_in_the_one_window"]),
            (
                "tests/running/crashes.rs",
                &["killed_at_any_step_the_grant_survives_but_between_the_rotation_and_its_first_whole_copy"],
            ),
        ]),
    ),
    (
        "a lock that is shorter than the redeem: two present one token (oauth2-proxy 3456)",
        By(&[(
            "tests/running/sharing/stopped.rs",
            &["while_the_holder_of_the_lock_is_stopped_the_others_serve_then_refuse_then_go_on"],
        )]),
    ),
    (
        "processes race and the family is revoked; the loser removes the winner's grant (claude-code 85236, gemini-cli 29048)",
        By(&[(
            "tests/running/sharing.rs",
            &[
                "of_eight_processes_one_redeems_and_the_others_take_up_its_token",
                "eight_processes_that_come_and_go_and_stop_present_nothing_twice",
            ],
        )]),
    ),
    (
        "a 401 of the upstream reaches the caller, or each of a crowd's starts a refresh (vault 30882, toolhive 6556)",
        By(&[
            (
                "tests/running/revocations.rs",
                &["two_hundred_requests_with_a_revoked_token_cost_one_refresh_and_no_caller_sees_a_401"],
            ),
            ("tests/proxying/replays.rs", &["a_body_is_sent_again_if_it_was_held_in_full"]),
        ]),
    ),
    (
        "an empty answer with status 200 is taken for the end, and never asked for again (envoy 42009)",
        By(&[("tests/refreshing/oddities.rs", &["each_odd_answer_is_read_as_the_catalogue_says"])]),
    ),
    (
        "an expired token goes on to the upstream (envoy 44674, sutando 2793)",
        By(&[
            ("tests/proxying/timeouts.rs", &["a_token_that_expires_while_a_connection_is_made_is_not_sent"]),
            ("tests/running/sleep.rs", &["who_asked_while_it_slept_waits_for_the_next_token"]),
        ]),
    ),
    (
        "one broken credential takes the others down (iron-proxy 194)",
        By(&[("tests/running/reloads.rs", &["grants_come_and_go_and_are_pointed_elsewhere"])]),
    ),
    (
        "a projected service-account token cannot be the client's proof (envoy 40893); no certificate can be (envoy 39183)",
        By(&[(
            "tests/refreshing/credentials.rs",
            &[
                "an_assertion_that_somebody_else_keeps_fresh_is_read_for_each_attempt",
                "a_certificate_proves_the_client_at_the_endpoint_that_asks_for_one",
            ],
        )]),
    ),
    (
        "a grant that is over is asked for without end, and after a restart again (mcp-remote 91, vault 25712, CLIProxyAPI 1999)",
        By(&[
            ("src/grant/refresher/tests.rs", &["a_refused_grant_is_probed_slowly_and_heals_by_itself"]),
            (
                "src/grant/refresher/tests/mending.rs",
                &["a_verdict_that_another_process_has_heard_is_not_asked_for_again_at_once"],
            ),
        ]),
    ),
    (
        "a new sign-in needs a restart, or a folder to be removed (mcp-remote 166)",
        By(&[
            ("src/grant/refresher/tests.rs", &["a_new_seed_heals_a_refused_grant_within_a_nap"]),
            (
                "tests/signing_in/command.rs",
                &["a_bearerd_that_waits_is_told_and_goes_on_without_a_refresh_and_so_does_the_next"],
            ),
        ]),
    ),
    (
        "what the server said is hidden (sutando 2102)",
        By(&[("src/grant/wire/tests.rs", &["what_a_server_says_is_shown_cut_and_clean"])]),
    ),
    (
        "a server that says 429 is asked at once, by everybody (python-sdk 2859, LangAlpha 379)",
        By(&[(
            "src/grant/schedule.rs",
            &[
                "retry_after_is_honoured_up_to_five_minutes",
                "a_server_that_says_at_once_is_not_asked_at_once",
            ],
        )]),
    ),
    (
        "secrets and certificates are read once (vault 16266, oauth2-proxy 3042)",
        By(&[(
            "tests/refreshing/credentials.rs",
            &[
                "another_key_in_the_file_is_the_one_that_signs_next",
                "while_secrets_are_rotated_the_one_that_is_good_is_found_and_kept_to",
            ],
        )]),
    ),
    (
        "a connection that said goodbye is used once more: 502 (token-refresher 17)",
        By(&[(
            "tests/proxying/http2.rs",
            &["a_connection_that_said_goodbye_while_it_rested_is_not_used_again"],
        )]),
    ),
    (
        "expires_in in quotes; parameters and headers that replace ours (envoy 42037)",
        By(&[
            ("src/grant/wire/tests.rs", &["lifetimes_are_read_as_servers_write_them"]),
            ("tests/refreshing/credentials.rs", &["more_parameters_and_headers_add_and_replace_nothing"]),
        ]),
    ),
    (
        "any page in a browser may use the token (kubernetes 8871, go-sdk 857)",
        By(&[("tests/running/carrying.rs", &["strangers_get_403_and_no_upstream_sees_them"])]),
    ),
];
