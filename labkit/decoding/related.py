"""Words that stand for one another when somebody asks for something: ``ring`` and ``call``, ``how far`` and ``distance``.

General English, written by hand. A word that is missing here only costs a request some of its evidence.
"""

from __future__ import annotations

import re
from functools import cache

from labkit.decoding.lexicon import GENERIC
from labkit.decoding.text import stem

_TOGETHER = """
buy purchase order shop get acquire
book reserve reservation booking
find search look locate lookup discover
price cost fee charge expensive cheap worth quote fare
phone call ring telephone callback dial
email mail message write send
message text sms send notify
car vehicle automobile auto drive
flight fly plane airline airport
trip travel journey route itinerary tour vacation
hotel room stay accommodation lodging overnight
house home property apartment flat real estate
lamp light bulb
heating thermostat heat temperature warm
begin start launch open
end finish stop terminate close
cancel drop delete remove
change update modify edit adjust set
add insert append put include
create make build generate compose produce
calculate compute work determine estimate evaluate solve
convert conversion exchange change translate
compare comparison difference versus
predict forecast projection estimate future expect
money currency cash dollar euro yen pound franc usd eur peso rupee
salary income wage earnings pay
loan mortgage credit lend borrow debt
invest investment return profit portfolio yield roi
interest rate percentage apr
tax duty vat
stock share equity market ticker
company firm business corporation enterprise organisation organization
employee staff worker colleague personnel
customer client user buyer account
problem issue complaint broken damaged ticket fault defect complain
return refund
delivery ship shipment shipping arrive parcel package deliver
order status track
doctor physician appointment dentist clinic
ill sick illness disease absence absent
medicine drug medication
food dish meal recipe cook ingredient cuisine eat dinner lunch
restaurant dine table eat
calorie nutrition nutritional protein carb carbohydrate fat diet
vegan vegetarian diet gluten-free dietary
shop store market supermarket grocery
film movie cinema show
song music track tune play listen melody
singer band artist musician concert
concert show gig event performance
play start run
game match play tournament
team club league
player athlete
score result goal point statistic stat
ranking standing position table leaderboard rank
win winner won victory champion
sport football soccer basketball tennis
picture image photo painting
paint painting coat colour color
sculpture statue
museum gallery exhibition
artist painter sculptor
book novel title isbn
library loan borrow lend
author writer write
article news newspaper headline
paper research study publication
law legal statute legislation
case lawsuit court trial judge docket
crime criminal offence penalty
lawyer attorney legal
patent invention
history historical past century ancient
war battle
king queen monarch president ruler leader emperor
event happening occurrence
date day when
time hour clock schedule
timezone time zone
calendar schedule appointment meeting event
reminder remind remember forget alarm
meeting lunch dinner appointment event
weather forecast rain temperature humidity snow sunny wind precipitation climate
city town place location
country nation state
region area district
distance far length kilometre mile
length long
height high tall
width wide
weight heavy weigh mass
speed fast velocity quick pace
duration long time period
age old
size large big dimension
area surface square
volume capacity hold litre
temperature hot cold degree celsius fahrenheit
amount quantity much number
direction route path way navigate map
map location address
traffic road street
train rail station
bus transit transport
tree forest plant
plant flower garden
water watering irrigate
animal species wildlife bird mammal
cell biology organism
gene genetic dna mutation genome
protein structure molecule
evolution ancestor species
chemical compound molecule element substance
reaction chemistry
atom atomic isotope
physics force motion
gravity gravitational fall drop
acceleration velocity speed
energy kinetic potential
electricity electric voltage current charge resistance
magnetic magnet
light wavelength
star planet celestial galaxy astronomical
ocean sea
river lake
mountain peak
earth planet
emission carbon footprint pollution
math mathematics arithmetic
sum add addition total
product multiply multiplication
divide division quotient
factor divisor gcd hcf prime
derivative differentiate
integral integrate integration
equation root solve
matrix vector
triangle hypotenuse pythagorean
circle radius diameter circumference
average mean median
statistics statistical deviation variance
regression correlation
probability chance likelihood odds likely
toss flip coin
dice roll die throw
card deck poker hand
random draw
sort rank arrange
list array
file folder document directory
database table record query sql
password security login pin
network internet wifi
server cloud
model neural network train
text word sentence
translate language
summary summarise summarize sum
grade mark score exam test
pupil student learner
class course lesson subject
enrol enroll register sign
school university college
teacher professor
birthday birth born
family relative ancestor
friend contact person
job career position work
balance account savings checking
transfer send pay payment
card credit debit
transaction payment spend spent
block lock stolen lost
lock unlock door
clean vacuum dirty
room kitchen bedroom bathroom living hall
exercise workout fitness gym run
health medical
religion religious church god
philosophy philosopher
culture tradition
visa passport
review rating rate
recommend suggest recommendation
describe description information detail
news latest recent
current now today present
near nearest nearby close
population inhabitant people
guide help how article question answer policy
"""
"""Groups of words, one a line."""

_ASKED = {
    r"\bhow (?:long|much time)\b": "duration time length minute hour",
    r"\bhow (?:far|distant)\b": "distance length route",
    r"\bhow (?:much|expensive)\b|\bcosts?\b|\bcheap": "price cost amount rate money payment fee",
    r"\bhow many\b": "number count amount quantity total convert",
    r"\bhow old\b": "age birthday",
    r"\bhow (?:tall|high)\b": "height elevation",
    r"\bhow (?:fast|quick)": "speed velocity time",
    r"\bhow (?:big|large)\b": "size area volume",
    r"\bhow (?:hot|cold|warm)\b": "temperature weather",
    r"\bhow often\b": "frequency schedule",
    r"\bwhen\b|\bwhat time\b": "date time day year hour schedule",
    r"\bwhere\b": "location place address find position status",
    r"\b(?:who|whose|whom)\b": "name person player artist author director owner winner leader people",
    r"\bhow (?:do|can|to|should|would)\b": "guide help article method recipe route instruction",
}
"""Question words, and what a tool that answers them speaks of."""


@cache
def groups(word: str) -> frozenset[int]:
    """The groups that a stem is in."""
    return _index().get(word, frozenset())


@cache
def groups_of(words: frozenset[str]) -> frozenset[int]:
    """The groups that any of the stems is in."""
    return frozenset().union(*(groups(word) for word in words))


@cache
def asked(text: str) -> tuple[frozenset[str], ...]:
    """For each question word of a text, the stems of which a fitting tool has one."""
    lower = text.lower()
    return tuple(
        frozenset(stem(w) for w in words.split())
        for pattern, words in _ASKED.items()
        if re.search(pattern, lower)
    )


@cache
def _index() -> dict[str, frozenset[int]]:
    found: dict[str, set[int]] = {}
    for group, line in enumerate(_TOGETHER.split("\n")):
        for word in line.split():
            found.setdefault(stem(word), set()).add(group)
    return {word: frozenset(numbers) for word, numbers in found.items() if word not in GENERIC}
