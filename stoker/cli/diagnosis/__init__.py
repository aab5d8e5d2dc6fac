"""`stoker doctor`: facts of a cluster in, the first thing that is broken out."""
