"""The words that the rules of this package know: prepositions, units, measures. General English, nothing else."""

from __future__ import annotations

from labkit.decoding.text import stem


def _split(words: str) -> list[str]:
    return words.split()


ROLES: dict[str, tuple[str, ...]] = {
    "from": (
        "start",
        "origin",
        "from",
        "source",
        "departure",
        "initial",
        "begin",
        "base",
        "old",
        "sender",
        "min",
        "1",
        "first",
        "pickup",
    ),
    "to": (
        "end",
        "destination",
        "to",
        "target",
        "arrival",
        "final",
        "new",
        "recipient",
        "max",
        "2",
        "second",
        "receiver",
        "dropoff",
    ),
    "between": ("start", "origin", "from", "first", "1", "begin"),
    "and": ("end", "destination", "to", "second", "2", "final"),
    "in": (
        "location",
        "city",
        "country",
        "state",
        "place",
        "region",
        "area",
        "year",
        "month",
        "town",
        "language",
        "unit",
        "currency",
        "key",
    ),
    "at": (
        "location",
        "place",
        "venue",
        "time",
        "hotel",
        "restaurant",
        "store",
        "school",
        "university",
        "rate",
        "price",
        "temperature",
    ),
    "near": ("location", "city", "place", "area", "address", "landmark"),
    "around": ("location", "city", "place", "area"),
    "by": (
        "author",
        "artist",
        "director",
        "composer",
        "writer",
        "painter",
        "creator",
        "person",
        "sort",
        "method",
    ),
    "on": ("date", "day", "topic", "platform", "subject"),
    "about": ("topic", "subject", "query", "theme"),
    "since": ("start", "from", "begin"),
    "until": ("end", "to"),
    "under": ("max", "maximum", "limit", "budget"),
    "over": ("min", "minimum"),
    "within": ("max", "maximum", "radius", "distance", "time", "range"),
    "using": ("method", "model", "algorithm", "material", "tool", "medium"),
    "for": ("duration", "days", "name", "person", "years", "purpose", "query", "customer"),
    "with": ("name", "title", "ingredient", "feature", "type", "amenity"),
    "of": ("name", "title", "location", "item", "product", "subject"),
}
"""Which parameters a preposition announces: the words are compared with the parameter's name and the start of its description."""

UNITS: dict[str, tuple[str, ...]] = {
    "length": (
        "m",
        "meter",
        "metre",
        "cm",
        "mm",
        "km",
        "kilometer",
        "kilometre",
        "mile",
        "ft",
        "foot",
        "feet",
        "inch",
        "in",
        "yard",
        "nm",
        "pixel",
    ),
    "mass": ("kg", "g", "gram", "kilogram", "lb", "pound", "mg", "ton", "kgs", "lbs"),
    "time": ("s", "sec", "second", "minute", "min", "hour", "hr", "h", "ms"),
    "period": ("day", "night", "week", "month", "year", "decade", "century"),
    "speed": ("m/s", "km/h", "mph", "kmh", "kph"),
    "acceleration": ("m/s^2", "m/s²", "m/s2"),
    "temperature": ("°c", "°f", "k", "celsius", "fahrenheit", "kelvin", "degree"),
    "money": (
        "dollar",
        "usd",
        "euro",
        "$",
        "cent",
        "pound",
        "yen",
        "budget",
        "price",
        "cost",
        "amount",
        "payment",
        "salary",
        "income",
        "investment",
        "principal",
    ),
    "volume": ("l", "liter", "litre", "ml", "m^3", "m³", "gallon", "cup", "volume"),
    "electric": (
        "v",
        "volt",
        "a",
        "ampere",
        "amp",
        "c",
        "coulomb",
        "ohm",
        "f",
        "farad",
        "h",
        "henry",
        "tesla",
    ),
    "frequency": ("hz", "hertz", "khz", "mhz", "bpm", "tempo", "frequency"),
    "people": ("people", "person", "guest", "adult", "child", "student", "player"),
}
"""Units and the words that go with them, by what they measure."""

UNIT_OF = {stem(u): kind for kind, units in UNITS.items() for u in units} | {
    u: kind for kind, units in UNITS.items() for u in units
}
_MEASURES = {
    "length": "length distance height width radius diameter depth base side altitude elevation perimeter size wavelength mileage",
    "mass": "mass weight load",
    "time": "time duration minutes hours seconds interval",
    "period": "duration days nights weeks months years period term time age stay",
    "speed": "speed velocity",
    "acceleration": "acceleration gravity",
    "temperature": "temperature temp heat",
    "money": "price cost amount budget salary income money payment principal investment fee dollars usd value payout dividend equity",
    "volume": "volume capacity",
    "electric": "voltage current charge resistance capacitance inductance",
    "frequency": "frequency tempo rate bpm hz note",
    "people": "people guests adults children students players size number servings",
}
MEASURE_STEMS = {
    kind: {stem(w) for w in words.split()} | {stem(u) for u in UNITS[kind] if len(u) > 2}
    for kind, words in _MEASURES.items()
}
NEGATIONS = frozenset(
    ["no", "not", "without", "don't", "doesn't", "never", "exclude", "excluding", "except", "avoid"]
)

RATES = {
    stem(w)
    for w in _split(
        "rate percentage percent alpha probability ratio fraction return interest discount yield tax "
        "significance frequency growth"
    )
}
TIME_WORDS = {
    stem(w) for w in ["year", "month", "day", "date", "time", "hour", "minute", "century", "season", "period"]
}
PLACES = {
    stem(w)
    for w in _split(
        "city location place country state region area town address destination origin origin venue"
    )
}
PEOPLE = {
    stem(w) for w in ["person", "player", "artist", "author", "actor", "name", "director", "company", "team"]
}

GENERIC = frozenset(
    stem(w)
    for w in _split(
        "get find calculate compute retrieve fetch return search determine given based function value "
        "specific specified information info data number list name type default provide make create use "
        "used using certain particular details detail result total different between want need know tell "
        "give show me help please like following two three one also various including include api call "
        "calc main set"
    )
)
"""Words that say nothing about what a tool is for."""
