"""What every number in the README was measured with."""
