"""What the serving API means: pure rules, data in and data out."""
