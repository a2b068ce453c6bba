"""How the data and the weights that ship with the project are made."""
