"""Text from other text: translating a corpus through an endpoint, and parallel documents from sentence pairs."""
