"""The dialects besides chat completions: messages and responses."""
