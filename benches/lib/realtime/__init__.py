"""Voice sessions under measure: see benches/realtime.py."""
