//! People sign in with `bearerd login`: what they see, what is kept, and how it ends when something comes in between.

mod command;
mod faults;
mod pods;
mod ways;
