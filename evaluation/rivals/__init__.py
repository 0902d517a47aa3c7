"""What the learning policy is measured against, and the learning policy itself."""

from evaluation.rivals.ceiling import CeilingSettings, ceiling
from evaluation.rivals.conditions import RingConditions
from evaluation.rivals.dense import dense_features
from evaluation.rivals.fixed import Foundation, Oracle, OwnFrequent, Popular, Random
from evaluation.rivals.learning import Learning
from evaluation.rivals.linear import LinUCB, LinUCBSettings
from evaluation.rivals.reinforce import Reinforce, ReinforceSettings
from evaluation.rivals.supervised import Supervised, SupervisedSettings
from evaluation.rivals.vowpal import VowpalSettings, VowpalWabbit

__all__ = [
    "CeilingSettings",
    "Foundation",
    "Learning",
    "LinUCB",
    "LinUCBSettings",
    "Oracle",
    "OwnFrequent",
    "Popular",
    "Random",
    "Reinforce",
    "ReinforceSettings",
    "RingConditions",
    "Supervised",
    "SupervisedSettings",
    "VowpalSettings",
    "VowpalWabbit",
    "ceiling",
    "dense_features",
]
