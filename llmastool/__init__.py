"""Neural architecture search over modules mined from source code.

The parts, in the order in which a search uses them: `mining` cuts modules out of source code, `registry` proves
that they run and learns how they fit, `trees` edits networks made of them, `planner` decides which edit to try,
`filler` settles what the plan leaves open, `training` scores the result, and `search` ties them together.
"""

__version__ = "0.1.0"
