"""What a node runs for one trial: execute it, supervise its process, keep it apart from others."""
