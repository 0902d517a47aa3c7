"""Shops that only know the wire: catalogue, shoppers, choice, delay, drift, and live traffic."""
