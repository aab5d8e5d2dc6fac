"""Keeping answers within a grammar."""
