"""End to end: scenarios on a real local cluster, as a user sees them."""
