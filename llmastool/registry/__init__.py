"""The registry: run every bundle in the sandbox, and learn how it fits."""
