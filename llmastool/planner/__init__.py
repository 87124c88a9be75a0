"""The planner: which parent, which slot, which kind of edit, which family; from a Bayesian model."""
