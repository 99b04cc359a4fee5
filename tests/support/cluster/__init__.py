"""A Ray cluster on this machine, in the environment that has Ray."""
