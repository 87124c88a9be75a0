"""One script for each claim; results lie beside them in `results/`."""
