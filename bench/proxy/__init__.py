"""The proxy beside a bare pass-through, LiteLLM and Portkey."""
