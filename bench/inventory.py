"""The host of the benchmarks."""

hub = ["bench.example.org"]
