"""Parts of the planner's benchmark."""
