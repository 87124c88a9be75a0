"""From what a strategy wishes for to questions: networks that hold, and short lists for the filler."""
