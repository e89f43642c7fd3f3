//! The promises of bearerd, by topic.
