"""What both servers stand on, over HTTP."""
