"""What several tests share: it holds no test, and no test imports another."""
