"""Parts of the benchmark of trees."""
