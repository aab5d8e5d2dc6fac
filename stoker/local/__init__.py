"""Real Kubernetes on one Linux machine, for laptops and continuous integration."""
