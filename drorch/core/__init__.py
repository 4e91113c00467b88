"""The domain's words: values and protocols. Standard library and pydantic only; imports nothing above."""
