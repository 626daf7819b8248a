"""What is measured of speech that passes through: an upstream that speaks, peers that relay, readers that check."""
