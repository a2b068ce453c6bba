"""How the face detector is taught, measured and exported; one module for each step."""
