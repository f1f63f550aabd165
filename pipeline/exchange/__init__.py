"""The exchange: a local one that clients of the real one cannot tell apart."""
