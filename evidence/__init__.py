"""Pure statistics: what the rewards of two arms say, and how surely."""
