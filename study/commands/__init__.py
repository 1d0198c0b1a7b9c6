"""The command line's groups of commands, one file a group; heavy imports stay inside the commands."""
