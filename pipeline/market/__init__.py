"""Bars: their schema, grid, gaps and sources."""
