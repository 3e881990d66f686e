"""Closings in both directions: where they are taken in, and how they are carried."""
