"""The commands of the DVC stages."""
