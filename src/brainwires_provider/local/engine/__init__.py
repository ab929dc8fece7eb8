"""The llama.cpp server in a child process."""
