"""The catalogue, in our words and in OpenAI's."""
