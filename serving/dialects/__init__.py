"""What the text endpoints' requests and answers say."""
