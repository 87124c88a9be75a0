"""The filler: closed questions, answered by an LLM or by rules."""
