"""Prefect tasks: a library call each, with a tag, and retries where a failure may pass. MLflow lives here."""
