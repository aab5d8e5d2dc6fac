"""`stoker top`: what pods serve right now, from their own metrics."""
