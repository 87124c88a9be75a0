"""Baselines: strategies that a planner has to beat, behind the same protocol. All of them are stateless."""
