"""The parts of `benchmarks.orchestration`."""
