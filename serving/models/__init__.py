"""What models cost, what they report, and calling the endpoint that serves one."""
