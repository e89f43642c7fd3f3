//! The real program between a real server and a real upstream: what callers see, and what survives.

mod canaries;
mod carrying;
mod certificates;
#[cfg(debug_assertions)] // a release build has no seam to die at
mod crashes;
mod crowds;
mod disks;
mod endings;
mod hooks;
mod kills;
mod limits;
mod load;
mod memory;
mod moving;
mod operating;
mod outages;
mod pace;
mod proofs;
mod reloads;
mod retries;
mod revocations;
mod sealing;
mod sharing;
mod silences;
#[cfg(target_os = "linux")] // whether a process stands still is told by /proc
mod sleep;
mod stage;
