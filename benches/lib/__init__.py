"""What the benches with real sockets share."""
