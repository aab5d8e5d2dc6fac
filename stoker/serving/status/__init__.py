"""What pods say, judged into a status."""
