//! The playground: an authorization server, an upstream and bearerd between them, in one process.

fn main() {}
