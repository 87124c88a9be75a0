"""Search on NAS-Bench-201's table of accuracies (Dong & Yang 2020): the planner beside its peers."""
