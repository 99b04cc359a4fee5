"""A model of a cluster on one machine: pods, an edge with its shipped configuration, an autoscaler, and load."""
