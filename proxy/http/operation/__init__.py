"""What watches the process: liveness, readiness, metrics."""
