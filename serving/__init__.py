"""What a server of inference is made of, once for both servers."""
