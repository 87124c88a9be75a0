"""The workbench: a sandboxed process in which trees are built on the meta device, observed and edited."""
