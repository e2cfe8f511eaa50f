"""Operations for monitors: liveness, readiness, metrics."""
