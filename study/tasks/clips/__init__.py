"""Classification of video clips."""
