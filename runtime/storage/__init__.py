"""Where models come from: a URI becomes a directory, over connections that break and disks that fill."""
