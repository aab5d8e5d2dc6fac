"""Revisions, and how one follows the other."""
