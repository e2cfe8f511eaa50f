"""Entry points: the ``current`` command, setup, deployment, audit."""
