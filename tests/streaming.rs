//! Bodies and tunnels as they flow: both ways at once, frame by frame, to their true end.

mod bodies;
mod websockets;
