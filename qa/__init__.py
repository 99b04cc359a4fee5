"""Long runs that are neither tests nor benchmarks: soak, malicious requests and models, fuzzing, conformance."""
