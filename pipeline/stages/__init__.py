"""One module per command; each reads, calls pure functions, writes atomically, and says what came out."""
