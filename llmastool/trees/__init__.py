"""Trees: networks as frozen values, and the edits between them."""
