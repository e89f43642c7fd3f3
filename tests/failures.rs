//! The failure table: everything that is known to go wrong, and which tests show what becomes of it; and what has gone
//! wrong elsewhere.

mod incidents;

use std::path::Path;

/// Where a row is shown.
enum Shown {
    /// By these tests: a file, and names in it.
    By(&'static [(&'static str, &'static [&'static str])]),
    /// Nowhere yet, because what it is about is not there.
    NotYet(&'static str),
}

use Shown::{By, NotYet};

const OUTAGES: (&str, &[&str]) =
    ("tests/running/outages.rs", &["every_fault_in_every_phase_is_survived_or_told"]);

/// Row by row; the invariants of tests/running, which hold in each, are not repeated.
const TABLE: [(&str, Shown); 27] = [
    (
        "the authorization server is slow, fails or does not answer, while the access token lives",
        By(&[OUTAGES, ("src/grant/refresher/tests.rs", &["a_failed_refresh_leaves_a_good_token_in_place"])]),
    ),
    (
        "the same, and the access token ends: callers wait, are refused, and served again soon",
        By(&[
            OUTAGES,
            (
                "tests/running/sleep.rs",
                &["where_the_server_is_gone_when_it_wakes_callers_are_told_and_the_old_token_stays"],
            ),
            ("src/grant/schedule.rs", &["without_a_token_no_wait_keeps_recovery_from_five_seconds"]),
        ]),
    ),
    (
        "no name, no connection, no TLS",
        By(&[
            ("tests/refreshing/faults.rs", &["an_unreachable_server_is_waited_for"]),
            ("src/grant/refresher/tests.rs", &["an_unreachable_server_leaves_no_intent_standing"]),
        ]),
    ),
    (
        "a certificate of another name, of an unknown authority, or of another time",
        By(&[(
            "tests/refreshing/strangers.rs",
            &["a_bad_certificate_is_told_costs_nothing_and_heals_when_it_is_mended"],
        )]),
    ),
    (
        "429, and 503, with Retry-After and without",
        By(&[
            OUTAGES,
            (
                "tests/refreshing/faults.rs",
                &[
                    "strict_a_fault_before_processing_costs_nothing",
                    "authgear_a_fault_before_processing_costs_nothing",
                ],
            ),
            (
                "src/grant/schedule.rs",
                &[
                    "retry_after_is_honoured_up_to_five_minutes",
                    "a_server_that_says_at_once_is_not_asked_at_once",
                ],
            ),
        ]),
    ),
    (
        "an answer is lost after a rotation, at a server with grace",
        By(&[
            OUTAGES,
            (
                "tests/refreshing/faults.rs",
                &["with_grace_no_fault_costs_the_grant", "without_rotation_no_fault_costs_the_grant"],
            ),
        ]),
    ),
    (
        "the same at a server without",
        By(&[
            OUTAGES,
            (
                "tests/refreshing/faults.rs",
                &[
                    "strict_an_answer_lost_after_rotation_is_told_as_such",
                    "authgear_an_answer_lost_after_rotation_is_told_as_such",
                ],
            ),
            (
                "src/grant/refresher/tests.rs",
                &["an_unanswered_redeem_is_repeated_and_its_refusal_is_a_lost_rotation"],
            ),
        ]),
    ),
    (
        "the grant is revoked or has ended",
        By(&[
            (
                "tests/refreshing/verdicts.rs",
                &["a_revoked_grant_asks_for_a_person_and_keeps_its_token_while_it_lives"],
            ),
            (
                "src/grant/refresher/tests.rs",
                &[
                    "a_refused_grant_is_probed_slowly_and_heals_by_itself",
                    "a_new_seed_heals_a_refused_grant_within_a_nap",
                ],
            ),
        ]),
    ),
    (
        "the refresh token was replaced in the store meanwhile",
        By(&[
            (
                "src/grant/refresher/tests/clocks.rs",
                &["a_token_that_another_process_got_is_taken_up_and_nothing_presented"],
            ),
            (
                "src/grant/refresher/tests/mending.rs",
                &["a_seed_that_came_while_the_old_one_was_refused_is_tried"],
            ),
            (
                "tests/running/sharing.rs",
                &["of_eight_processes_one_redeems_and_the_others_take_up_its_token"],
            ),
        ]),
    ),
    (
        "the client is refused: its secret was replaced",
        By(&[
            (
                "tests/refreshing/verdicts.rs",
                &["a_wrong_client_secret_is_misconfigured_and_the_refresh_token_untouched"],
            ),
            (
                "tests/refreshing/credentials.rs",
                &["while_secrets_are_rotated_the_one_that_is_good_is_found_and_kept_to"],
            ),
        ]),
    ),
    (
        "a good answer with a bad access token, or one of an unknown type, and a new refresh token",
        By(&[
            (
                "src/grant/refresher/tests.rs",
                &["an_answer_with_a_bad_access_token_still_gives_its_refresh_token"],
            ),
            (
                "src/grant/wire/tests.rs",
                &[
                    "a_refresh_token_is_salvaged_from_an_answer_that_is_otherwise_wrong",
                    "a_token_of_another_type_is_never_used",
                ],
            ),
            (
                "tests/refreshing/faults.rs",
                &["a_truncated_answer_that_holds_the_new_refresh_token_loses_nothing"],
            ),
            ("src/fuzzing.rs", &["the_invariants_hold_of_every_input_that_is_kept"]),
        ]),
    ),
    (
        "a rotation cannot be saved: the disk is full, read-only or fails",
        By(&[
            (
                "src/grant/refresher/tests.rs",
                &[
                    "a_rotation_that_cannot_be_saved_is_kept_and_published_once_the_old_token_is_gone",
                    "without_a_durable_intent_nothing_is_presented",
                ],
            ),
            (
                "src/store/file/tests/crashes.rs",
                &["one_failure_of_the_disk_after_the_intent_does_not_lose_the_successor"],
            ),
            (
                "src/store/file/tests/full_disks.rs",
                &["a_disk_that_fills_up_after_the_intent_cannot_lose_a_larger_successor"],
            ),
            (
                "tests/running/disks.rs",
                &[
                    "a_disk_that_fills_up_during_a_redeem_keeps_what_the_redeem_brings",
                    "on_a_disk_that_has_become_read_only_nothing_is_presented_until_it_can_be_written",
                ],
            ),
        ]),
    ),
    (
        "killed after the request was sent, before the answer",
        By(&[
            (
                "src/grant/refresher/tests.rs",
                &["an_unfinished_intent_is_presented_again_and_its_refusal_explained"],
            ),
            (
                "tests/running/crashes.rs",
                &["killed_at_any_step_the_grant_survives_but_between_the_rotation_and_its_first_whole_copy"],
            ),
        ]),
    ),
    (
        "killed after the answer, before it is durable",
        By(&[
            (
                "src/store/file/tests/crashes.rs",
                &[
                    "a_refresh_that_is_cut_off_anywhere_leaves_the_old_record_or_the_new",
                    "a_successor_that_reached_the_disk_is_saved_by_the_next_holder",
                ],
            ),
            (
                "tests/running/kills.rs",
                &[
                    "the_grant_survives_every_kill_but_those_in_the_one_window",
                    "where_the_server_takes_the_token_before_the_current_one_no_kill_costs_the_grant",
                ],
            ),
        ]),
    ),
    (
        "the record is damaged or cut off",
        By(&[
            (
                "tests/refreshing/verdicts.rs",
                &["behind_a_damaged_record_no_seed_is_presented_that_may_be_older"],
            ),
            ("src/store/file/tests/places.rs", &["what_is_no_record_is_set_aside_and_never_overwritten"]),
            ("src/store/record/tests.rs", &["a_record_cut_off_anywhere_is_damaged"]),
        ]),
    ),
    (
        "the record is of another issuer or client",
        By(&[
            ("src/grant/refresher/tests.rs", &["a_record_of_another_client_is_not_presented"]),
            ("src/grant/lineage.rs", &["a_record_of_another_issuer_or_client_is_never_ours"]),
        ]),
    ),
    (
        "the machine sleeps for hours",
        By(&[
            (
                "src/grant/refresher/tests/clocks.rs",
                &[
                    "a_machine_that_slept_five_hours_hands_out_no_old_token_and_refreshes_within_a_nap",
                    "who_waits_on_a_machine_that_slept_is_served_at_once",
                ],
            ),
            ("tests/running/sleep.rs", &["who_asked_while_it_slept_waits_for_the_next_token"]),
        ]),
    ),
    (
        "the wall clock is set back",
        By(&[(
            "src/grant/refresher/tests/clocks.rs",
            &["a_wall_clock_that_is_set_back_lengthens_no_life_and_costs_no_refresh"],
        )]),
    ),
    (
        "the wall clock is set ahead",
        By(&[("src/grant/refresher/tests.rs", &["a_wall_clock_that_steps_ahead_costs_one_refresh"])]),
    ),
    (
        "expires_in is absent, zero, negative, huge or a text",
        By(&[
            (
                "src/grant/wire/tests.rs",
                &[
                    "lifetimes_are_read_as_servers_write_them",
                    "a_token_without_a_type_or_a_life_is_used_with_a_remark",
                ],
            ),
            (
                "src/grant/refresher/tests.rs",
                &["a_server_that_gives_no_life_is_asked_fourteen_times_a_minute_at_most"],
            ),
            (
                "tests/running/pace.rs",
                &["a_server_that_gives_no_life_is_asked_fourteen_times_a_minute_at_most"],
            ),
        ]),
    ),
    (
        "the upstream refuses the token",
        By(&[
            (
                "tests/running/revocations.rs",
                &["two_hundred_requests_with_a_revoked_token_cost_one_refresh_and_no_caller_sees_a_401"],
            ),
            (
                "tests/running/pace.rs",
                &["an_upstream_that_always_says_401_costs_two_refreshes_a_minute_at_most"],
            ),
            (
                "tests/proxying/replays.rs",
                &[
                    "any_method_is_sent_again_with_the_token_that_the_refresh_brings",
                    "a_401_passes_when_no_successor_is_to_come_or_that_one_is_refused_too",
                ],
            ),
        ]),
    ),
    (
        "the upstream refuses a token that is seconds old",
        By(&[
            (
                "src/grant/refresher/tests.rs",
                &["a_doubted_token_is_refreshed_once_and_a_young_one_not_at_all"],
            ),
            ("src/grant/schedule.rs", &["only_a_token_of_some_age_is_doubted_and_not_often"]),
        ]),
    ),
    ("the lease is lost", NotYet("there are no replicas on several machines")),
    ("the Kubernetes API cannot be reached", NotYet("there is no store in a Kubernetes Secret")),
    (
        "SIGTERM during a refresh",
        By(&[
            ("src/grant/refresher/tests.rs", &["the_end_of_the_program_waits_for_the_refresh_in_flight"]),
            ("tests/running/load.rs", &["a_stop_ends_well_and_a_start_goes_on_with_the_stored_token"]),
        ]),
    ),
    (
        "more requests wait than may",
        By(&[
            ("tests/running/limits.rs", &["a_request_too_many_is_503_and_the_next_is_carried"]),
            ("tests/running/crowds.rs", &["five_thousand_requests_at_the_moment_of_expiry_make_one_redeem"]),
        ]),
    ),
    (
        "the grant's own end comes near",
        By(&[
            ("tests/running/endings.rs", &["people_are_warned_two_weeks_before_a_grant_ends"]),
            (
                "src/grant/end.rs",
                &[
                    "an_end_that_stands_still_is_warned_of_three_times",
                    "an_end_that_each_refresh_puts_off_is_warned_of_only_when_none_does",
                ],
            ),
            (
                "src/grant/refresher/tests.rs",
                &["what_is_known_of_a_grants_end_outlasts_silence_and_a_restart"],
            ),
        ]),
    ),
];

/// Whether a file has a test of this name.
fn is_test(file: &str, name: &str) -> bool {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file}: {error}"));
    let marked = |before: &str| {
        // What stands between the function before and this one.
        let own = before.rsplit('}').next().unwrap();
        own.contains("#[test]") || own.contains("#[tokio::test")
    };
    text.split_once(&format!("fn {name}(")).is_some_and(|(before, _)| marked(before))
}

#[test]
fn every_row_of_the_failure_table_is_shown_by_tests_that_exist() {
    assert!(
        !is_test(file!(), "is_test")
            && is_test(file!(), "every_row_of_the_failure_table_is_shown_by_tests_that_exist")
    );
    for (row, shown) in TABLE.iter().chain(&incidents::TABLE) {
        let tests = match shown {
            By(tests) => *tests,
            NotYet(why) => {
                println!("not shown yet: {row}: {why}");
                continue;
            }
        };
        assert!(!tests.is_empty(), "{row}");
        for (file, names) in tests {
            assert!(!names.is_empty(), "{row}: {file}");
            for name in *names {
                assert!(is_test(file, name), "{row}: {file} has no test {name}");
            }
        }
    }
}
