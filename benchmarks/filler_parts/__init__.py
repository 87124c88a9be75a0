"""Parts of the filler's benchmark."""
