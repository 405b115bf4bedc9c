"""What the performance page is made of: result files, tables, plots."""
