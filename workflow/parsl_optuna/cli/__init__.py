"""The command line. Each command parses, calls the library, prints."""
