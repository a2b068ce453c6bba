"""How the regressor is taught, measured and exported; one module for each step."""
