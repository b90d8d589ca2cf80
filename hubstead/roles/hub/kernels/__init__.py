"""`hub_kernels`: languages that people's servers run cells in."""
