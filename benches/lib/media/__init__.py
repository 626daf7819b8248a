"""Media: files that are served again and again, beside nginx and Express on the same ones."""
