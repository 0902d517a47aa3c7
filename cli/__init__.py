"""The composition root and the command `quintet`: reads settings, builds adapters, starts one loop."""
