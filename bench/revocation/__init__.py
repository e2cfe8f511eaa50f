"""From a mined revocation to the first refusal."""
