"""What reviewers look at and decide."""
