"""A first look at an environment that nobody has dreamt: is it fit, and what would dreaming take.

`look.py` collects a little and says what it found, `speed.py` measures how fast this machine
trains, and `proposal.py` puts both into commands.
"""
