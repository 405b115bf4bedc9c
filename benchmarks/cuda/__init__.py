"""Every check and measurement that needs a GPU, behind one command."""
