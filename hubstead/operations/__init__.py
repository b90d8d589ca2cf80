"""Facts and operations that pyinfra 3.10.0 lacks, or whose own do not converge."""
