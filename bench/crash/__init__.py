"""What is left of answered requests' charges when a gateway is killed."""
