"""The composition root and the command `quintet`: settings, adapters, one loop each."""
