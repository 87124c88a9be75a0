"""Training: datasets and splits, the recipe, the loop, and a process for each candidate."""
