"""The shop behind the desk: an invented name, its products and its customers.

The people, addresses and products do not exist. E-mail domains are those reserved for examples, and telephone numbers come from the ranges
reserved for fiction.
"""

from __future__ import annotations

from datetime import date

SHOP = "Tarnwick Kitchen"
TODAY = date(2026, 12, 4)
"""The desk's own day, a Friday: what it writes is dated so, and a run on any other day gives the same rows."""

WEEK = {
    "Monday": date(2026, 12, 7),
    "Tuesday": date(2026, 12, 8),
    "Wednesday": date(2026, 12, 9),
    "Thursday": date(2026, 12, 10),
    "Friday": date(2026, 12, 11),
}
"""The week in which customers can be called back."""

TIMES = tuple(f"{hour:02d}:{minute:02d}" for hour in range(9, 17) for minute in (0, 30))
"""When a call back can start: every half hour from 09:00 to 16:30."""

PRODUCTS = (
    # sku, name, what else people call it, price in cents, pieces in stock
    ("KE-110", "Rill electric kettle", "water kettle", 3490, 42),
    ("KE-240", "Heron gooseneck kettle", "pour-over kettle", 6490, 7),
    ("TO-120", "Ember two-slice toaster", "", 3990, 25),
    ("TO-340", "Ember four-slice toaster", "", 5990, 0),
    ("WA-150", "Lattice waffle iron", "waffle maker", 4590, 18),
    ("CO-210", "Drift coffee grinder", "coffee mill", 7990, 11),
    ("CO-480", "Dune espresso machine", "coffee machine, coffee maker, espresso maker", 32900, 4),
    ("RI-130", "Pearl rice cooker", "rice steamer", 5490, 16),
    ("SL-260", "Fjell slow cooker", "crock pot", 6990, 9),
    ("AF-310", "Kiln air fryer", "airfryer, hot air fryer", 11900, 21),
    ("MX-170", "Gust hand blender", "stick blender, immersion blender", 2990, 33),
    ("MX-620", "Quarry stand mixer", "food mixer, dough mixer", 24900, 0),
    ("FP-350", "Sorrel food processor", "chopper", 12900, 6),
    ("EG-105", "Pebble egg boiler", "egg cooker", 2490, 50),
    ("SC-115", "Feather kitchen scale", "food scale", 1990, 64),
)

CUSTOMERS = (
    # name, e-mail, telephone
    ("Amara Nwosu", "amara.nwosu@example.com", "+1 202 555 0101"),
    ("Jonas Lindqvist", "jonas.lindqvist@example.org", "+44 1632 960112"),
    ("Mei-Lin Tsao", "meilin@example.net", "+1 415 555 0117"),
    ("Rafael Quintana", "r.quintana@example.com", "+1 305 555 0123"),
    ("Ifeoma Adeyemi", "ifeoma@example.org", "+44 20 7946 0134"),
    ("Tomasz Wilk", "tomasz.wilk@example.net", "+44 7700 900145"),
    ("Leilani Kahale", "leilani.k@example.com", "+1 808 555 0156"),
    ("Henrik Aasen", "henrik@example.org", "+44 1632 960167"),
    ("Noor El-Masri", "noor.elmasri@example.com", "+1 313 555 0170"),
    ("Siobhan Keane", "s.keane@example.net", "+44 20 7946 0181"),
    ("Arjun Bhatia", "arjun_bhatia@example.com", "+1 408 555 0192"),
    ("Zuzana Horak", "zuzana.horak@example.org", "+44 7700 900103"),
    ("Kofi Asante", "kofi.asante@example.net", "+1 617 555 0114"),
    ("Yuki Moriyama", "yuki88@example.com", "+1 206 555 0125"),
    ("Beatriz Fontes", "bea.fontes@example.org", "+44 1632 960136"),
    ("Dmitri Volkov", "d.volkov@example.net", "+1 718 555 0147"),
    ("Hanna Virtala", "hanna.virtala@example.com", "+44 20 7946 0158"),
    ("Emeka Obi", "emeka@example.org", "+1 713 555 0169"),
    ("Claire Dumont", "claire.dumont@example.net", "+44 7700 900170"),
    ("Ruben van Daal", "ruben.vandaal@example.com", "+44 1632 960183"),
    ("Priya Raman", "priya.raman@example.org", "+1 512 555 0194"),
    ("Owen Prichard", "owen.prichard@example.net", "+44 20 7946 0105"),
    ("Fatima Zahir", "fatima.z@example.com", "+1 312 555 0116"),
    ("Mateo Salcedo", "m.salcedo@example.org", "+1 505 555 0127"),
)

PROBLEMS = (
    "The carton was open and the appliance had a scratch on the front.",
    "I was charged twice for the same order.",
    "It stopped working after three days.",
    "The instructions were missing, can you send me a copy?",
    "The parcel never reached me although the tracking says that it did.",
)
"""What the tickets say that are there from the start."""
