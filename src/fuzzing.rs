//! What must hold of every reader of strangers' bytes, whatever the bytes: asked by the fuzzer of tests/fuzz with inputs
//! of its own, and by `cargo test` with those that are kept in tests/fuzz/corpus.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what does not hold is to end the run")]

mod answer;
mod challenge;
mod json;
mod metadata;
mod record;
mod retry_after;

pub use self::answer::answer;
pub use self::challenge::challenge;
pub use self::metadata::metadata;
pub use self::record::record;
pub use self::retry_after::retry_after;

/// A reader's invariants.
pub type Check = fn(&[u8]);

/// Every target, by the name of its folder in tests/fuzz/corpus.
pub const TARGETS: [(&str, Check); 5] = [
    ("answer", answer),
    ("challenge", challenge),
    ("metadata", metadata),
    ("record", record),
    ("retry_after", retry_after),
];

/// What a person may be shown: one line of printable ASCII that somebody may read to its end.
fn assert_is_fit_to_be_shown(sentence: &str) {
    let is_shown = |c: char| c.is_ascii_graphic() || c == ' ' || c == '…';
    assert!(sentence.chars().all(is_shown), "not printable: {sentence:?}");
    assert!(sentence.len() < 1000, "too long: {sentence:?}");
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    fn home() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz")
    }

    /// The names in a folder, without extension and in order.
    fn names(folder: &str) -> Vec<String> {
        let entries = std::fs::read_dir(home().join(folder)).unwrap();
        let stem = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
        let mut names: Vec<String> = entries.map(|entry| stem(entry.unwrap().path())).collect();
        names.sort();
        names
    }

    fn inputs(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
        let entries = std::fs::read_dir(home().join("corpus").join(target)).unwrap();
        let inputs: Vec<_> = entries
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.clone(), std::fs::read(path).unwrap()))
            .collect();
        assert!(inputs.len() > 5, "{target}");
        inputs
    }

    /// The input as text, if the invariants do not hold of it.
    fn broken_by(check: Check, bytes: &[u8]) -> Option<String> {
        let held = std::panic::catch_unwind(|| check(bytes));
        held.is_err().then(|| String::from_utf8_lossy(bytes).into_owned())
    }

    #[test]
    fn every_target_has_inputs_and_a_fuzzer() {
        let expected = TARGETS.map(|(name, _)| name);
        assert_eq!(names("corpus"), expected);
        assert_eq!(names("targets"), expected);
        let manifest = std::fs::read_to_string(home().join("Cargo.toml")).unwrap();
        for name in expected {
            assert!(manifest.contains(&format!("path = \"targets/{name}.rs\"")), "{name}");
        }
    }

    #[test]
    fn the_invariants_hold_of_every_input_that_is_kept() {
        let mut broken = Vec::new();
        for (target, check) in TARGETS {
            let inputs = inputs(target).into_iter();
            broken
                .extend(inputs.filter(|(_, bytes)| broken_by(check, bytes).is_some()).map(|(path, _)| path));
        }
        assert_eq!(broken, Vec::<PathBuf>::new());
    }

    #[test]
    fn the_invariants_hold_of_kept_inputs_that_were_cut_doubled_and_overwritten() {
        let mut below = draws();
        for (target, check) in TARGETS {
            for (path, bytes) in inputs(target) {
                for _ in 0..100 {
                    let changed = changed(bytes.clone(), &mut below);
                    assert_eq!(broken_by(check, &changed), None, "{}", path.display());
                }
            }
        }
    }

    /// Numbers below a bound, the same ones each time.
    fn draws() -> impl FnMut(usize) -> usize {
        let mut state = 4711_u64;
        move |bound| {
            // Knuth's MMIX; only its high bits are well mixed.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(state >> 33).unwrap() % bound.max(1)
        }
    }

    fn changed(mut bytes: Vec<u8>, below: &mut impl FnMut(usize) -> usize) -> Vec<u8> {
        for _ in 0..=below(3) {
            let at = below(bytes.len());
            match below(4) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, *b"\"{},:= \\%&\t\0\xff".get(below(13)).unwrap()),
                2 => drop(bytes.drain(at..(at + below(8)).min(bytes.len()))),
                _ => bytes.extend_from_within(at..),
            }
        }
        bytes
    }
}
