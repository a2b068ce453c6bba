"""How the data that ship with the project are made."""
