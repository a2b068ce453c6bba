"""Image, geometry and output helpers; most names follow 3DDFA_V2."""
