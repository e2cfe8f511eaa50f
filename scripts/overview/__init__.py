"""`current status`: where everything is, on one screen."""
