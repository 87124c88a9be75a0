"""Prefect tasks: a library call each, with retries, a time limit and a cache key. MLflow lives here."""
