"""The figures of the report, plotted with matplotlib."""
