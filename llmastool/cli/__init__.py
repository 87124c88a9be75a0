"""The command line: `llmastool --help`. Each command has a file here, which imports what it needs when it is run."""
