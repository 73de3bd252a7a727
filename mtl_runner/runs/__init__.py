"""One run in its directory: claiming it, its beginning and end, its logs, summary, predictions, pictures and trained model."""
