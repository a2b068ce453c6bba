"""Image, geometry and output helpers; most names follow 3DDFA_V2."""

__version__ = "0.1.0"
