"""What the learning policy is measured against, and the learning policy itself."""

from evaluation.rivals.fixed import Foundation, Oracle, OwnFrequent, Popular, Random
from evaluation.rivals.learning import Learning

__all__ = ["Foundation", "Learning", "Oracle", "OwnFrequent", "Popular", "Random"]
