"""What every number in docs/benchmarks.md was measured with."""
