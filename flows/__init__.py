"""Prefect flows: chains of tasks."""
