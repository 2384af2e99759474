"""The commands of the shell. The only part of the client that prints or exits."""
