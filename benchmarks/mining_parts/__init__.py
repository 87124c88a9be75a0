"""The parts of the benchmark of mining: what is measured, and the judges that look from outside."""
