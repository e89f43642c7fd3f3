//! The tools do what the tests believe of them: each can fail, and says so.

mod browsers;
mod links;
mod processes;
mod upstreams;
