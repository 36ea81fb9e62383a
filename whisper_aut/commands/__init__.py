"""Commands of the command line that have several, each group in a file: options in, one function called."""
