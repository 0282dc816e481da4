"""The simulated market: one fair value per commodity, seen by every venue in its own unit, currency and manner."""

from feeds_simulator.model.market import NS_PER_S, MarketModel, ModelConfig
from feeds_simulator.model.products import PROFILES, Profile

__all__ = ["NS_PER_S", "PROFILES", "MarketModel", "ModelConfig", "Profile"]
