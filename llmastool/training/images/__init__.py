"""Read image sets as they lie around; `read` finds out what a folder or file is."""
