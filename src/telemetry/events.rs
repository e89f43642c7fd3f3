//! The names of events: what an operator may build on.

/// An event's stable name, and when it comes.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// snake_case, the field `event` of the line.
    pub name: &'static str,
    /// One sentence.
    pub meaning: &'static str,
}

/// Every event, in the order of a life.
pub const EVENTS: &[Event] = &[
    event("started", "The configuration is read and the program begins."),
    event("config_warning", "The configuration is good, but something in it deserves a second look."),
    event("listening", "A listener is bound; `address` is what was bound, `listener` says which it is."),
    event("grant_adopted", "A grant begins with a stored record, a new seed, or what another process wrote."),
    event("refresh_succeeded", "A new access token is published."),
    event("refresh_failed", "A refresh brought no token; the line says why and when the next one is due."),
    event("refresh_token_saved", "A rotated refresh token is on durable storage."),
    event("grant_state_changed", "A grant's state has another word than before."),
    event("hook_ran", "The command of `[hooks]` was told of a state, and ended well."),
    event(
        "hook_failed",
        "The command of `[hooks]` could not be started, failed, took too long, or was cut off by the end; it is not run again.",
    ),
    event(
        "store_write_failed",
        "A record could not be written; the token is kept in memory and written again.",
    ),
    event("store_save_finished", "A record that could not be written at first is written."),
    event("store_spare_failed", "The spare room for the next record could not be set aside."),
    event("store_recovered", "A rotation that was kept in memory for want of a store is saved."),
    event(
        "store_mark_damaged",
        "The mark beside the keyring's lock could not be read, and was made anew from the entry.",
    ),
    event(
        "store_mark_failed",
        "A record is saved in the keyring, and the mark beside its lock was not renewed.",
    ),
    event(
        "store_sealed_later",
        "Another process held the lock: what rests is sealed with the new key at the next save.",
    ),
    event("store_entry_left", "A keyring's entry that is of no more use could not be removed."),
    event("rotation_unsaved_at_exit", "The program ends and a rotated refresh token is lost with it."),
    event(
        "intent_found",
        "An earlier holder presented the refresh token and did not live to save the answer.",
    ),
    event(
        "reauth_suspected",
        "The server has given no verdict for 15 minutes past the access token's end: the grant may be gone.",
    ),
    event("grant_ends_soon", "The server says that the grant ends within two weeks, three days or one."),
    event("answer_odd", "The token endpoint's answer was used, though something about it was odd."),
    event(
        "metadata_unread",
        "The server's metadata could not be read again; those by which it gave tokens, or else those read last, are gone by.",
    ),
    event("scope_narrowed", "The server grants less than `scopes` asks for; the token is used all the same."),
    event("clock_set", "The clock was set by more than 5 s since it was last looked at."),
    event("request", "A request was answered (`log.access`)."),
    event(
        "resource_metadata_named",
        "An upstream that refuses the token names its metadata (RFC 9728); nothing follows from it.",
    ),
    event("config_reloaded", "A new configuration is in use."),
    event(
        "config_needs_restart",
        "A new configuration changes keys that take effect at the next start only.",
    ),
    event("admin_off", "The default admin port is taken; the program runs without its status page."),
    event("accept_failed", "A connection could not be accepted; the listener goes on."),
    event("tls_files_read", "The certificates below `[tls]` have changed, and new connections use them."),
    event(
        "tls_files_unusable",
        "The certificates below `[tls]` have changed and cannot be used; those before go on.",
    ),
    event("config_rejected", "A new configuration is wrong; the old one goes on."),
    event("draining", "The program was asked to stop and lets requests end."),
    event("stopped", "The program ends."),
];

const fn event(name: &'static str, meaning: &'static str) -> Event {
    Event { name, meaning }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    /// The names in every source file but those of this folder, whose tests make up lines.
    fn collect(folder: &Path, names: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.ends_with("telemetry") {
                continue;
            } else if path.is_dir() {
                collect(&path, names);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let named = text.split("event = \"").skip(1).filter_map(|rest| rest.split('"').next());
                names.extend(named.map(str::to_owned));
            }
        }
    }

    #[test]
    fn every_event_of_the_table_is_logged_and_no_other() {
        let mut used = BTreeSet::new();
        collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut used);
        let table: BTreeSet<String> = EVENTS.iter().map(|event| event.name.to_owned()).collect();
        assert_eq!(table.len(), EVENTS.len(), "each once");
        assert_eq!(used, table);
    }
}
