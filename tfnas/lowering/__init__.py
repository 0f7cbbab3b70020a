"""A network as the runtime runs it: fused, rewritten, one operator a line."""
