"""What every process has: settings, logs, ids, work in the background."""
