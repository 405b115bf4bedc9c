"""Fast executions of one imagined frame, all of them equal to the network's own."""
