"""A support desk to work at: a shop's customers, orders and tickets in SQLite, and the tools of an agent over them."""

from labkit.desk.build import build
from labkit.desk.outbox import sync
from labkit.desk.shop import SHOP, TODAY
from labkit.desk.tools import Desk

__all__ = ["SHOP", "TODAY", "Desk", "build", "sync"]
