"""What an agent can do at the desk: six tools over the database, each result with a sentence for the customer."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from labkit.desk import outbox
from labkit.desk.names import meant
from labkit.desk.shop import TIMES, TODAY, WEEK
from labkit.desk.store import WAIT_S, session
from labkit.errors import ConfigError, ToolError
from labkit.tools import ToolRegistry, UserWords

if TYPE_CHECKING:
    from labkit.knowledge import Knowledge

CustomerId = Annotated[str, Field(pattern=r"^C-[0-9]{4}$")]
OrderId = Annotated[int, Field(ge=10000, le=99999)]
Email = Annotated[str, Field(pattern=r"^[\w.+-]+@[\w-]+(\.[\w-]+)+$")]
Day = Literal["Monday", "Tuesday", "Wednesday", "Thursday", "Friday"]
Time = Annotated[str, Field(pattern=r"^(0[7-9]|1[0-8]):[0-5][0-9]$")]
"""Wider than the hours of the desk, which the tool explains; but of 3 in the morning and 3 in the afternoon only one is possible."""


@dataclass(frozen=True)
class Customer:
    """Who an e-mail address belongs to."""

    customer_id: str
    name: str
    say: str


@dataclass(frozen=True)
class Order:
    """Where an order is, and whose it is."""

    order_id: int
    customer_id: str
    status: str
    say: str


@dataclass(frozen=True)
class Product:
    """What a product costs and how many there are."""

    sku: str
    say: str


@dataclass(frozen=True)
class Ticket:
    """A ticket that is open."""

    ticket_id: int
    say: str


@dataclass(frozen=True)
class Callback:
    """A call that is booked."""

    callback_id: int
    say: str


@dataclass(frozen=True)
class Article:
    """What the shop's articles say, and which of them says it."""

    source: str
    say: str


class Desk:
    """The support desk of a shop, in one SQLite file.

    Every call opens the file anew, so that a desk may be used from several threads, and several programs may use one file.

    Args:
        path: A file made by ``build``.
        knowledge: Where ``search_articles`` searches; the shop's own articles by default.
        read_only: Never write; for a file on a shared drive.
        wait_s: Seconds to wait for another program's lock.

    Raises:
        ConfigError: The file is missing, locked, damaged, or not a desk.

    Example:
        >>> import tempfile
        >>> from labkit import desk
        >>> shop = desk.Desk(desk.build(Path(tempfile.mkdtemp()) / "desk.db"))
        >>> shop.product_info("waffle iron").say
        'The Lattice waffle iron costs 45.90 euros; 18 are in stock.'
    """

    def __init__(
        self,
        path: Path | str,
        *,
        knowledge: Knowledge | None = None,
        read_only: bool = False,
        wait_s: float = WAIT_S,
    ) -> None:
        self.path, self.read_only, self.wait_s = Path(path), read_only, wait_s
        self._knowledge = knowledge
        with session(self.path, write=False, error=ConfigError, read_only=read_only, wait_s=wait_s) as db:
            db.execute("SELECT count(*) FROM customers").fetchone()

    def tools(self) -> ToolRegistry:
        """The six tools. What a ticket says and what the articles are searched for are always the user's words."""
        return ToolRegistry(
            self.find_customer,
            self.order_status,
            self.product_info,
            self.create_ticket,
            self.schedule_callback,
            self.search_articles,
        )

    def find_customer(self, email: Email) -> Customer:
        """Look up the number of a customer by e-mail address.

        Args:
            email: E-mail address of the customer.

        Examples:
            Which customer number do I have? My address is jo@example.com.
            Please look up my account, I am registered as lee@example.org.
            Do you have an account under mia@example.net?
        """
        with self._db() as db:
            row = _one(db, "SELECT customer_id, name FROM customers WHERE email = ?", email.strip())
        if row is None:
            raise ToolError(
                f"There is no customer with the e-mail address {email}.", "Ask for another address."
            )
        return Customer(
            row["customer_id"], row["name"], f"The customer is {row['name']}, number {row['customer_id']}."
        )

    def order_status(self, order_id: OrderId) -> Order:
        """Order status: where is my order, parcel or package, was it shipped or delivered, when will it arrive.

        Args:
            order_id: Order number.

        Examples:
            Where is my parcel? It is order 10234.
            When will order 10877 arrive?
            Has order number 10991 been shipped yet?
            I am still waiting for #10450, what is going on with it?
        """
        with self._db() as db:
            row = _one(
                db,
                "SELECT orders.*, name FROM orders JOIN products USING (sku) WHERE order_id = ?",
                order_id,
            )
        if row is None:
            raise _no_order(order_id)
        many = f"{row['quantity']} x " if row["quantity"] > 1 else ""
        what = f"Order {order_id} ({many}{row['name']}, {_euros(row['total_cents'])})"
        says = {
            "processing": f"{what} is being processed and will be shipped by {row['due']}.",
            "shipped": f"{what} was shipped on {row['changed']} and should arrive by {row['due']}.",
            "delivered": f"{what} was delivered on {row['changed']}.",
            "cancelled": f"{what} was cancelled on {row['changed']}.",
        }
        return Order(order_id, row["customer_id"], row["status"], says[row["status"]])

    def product_info(self, product: Annotated[str, Field(min_length=1, max_length=200)]) -> Product:
        """Product price and stock: how much does it cost, what would I pay, do you have any left, is it available.

        Args:
            product: Name of the product.

        Examples:
            How much is the pasta maker?
            Do you have the ice cream machine in stock?
            What does the juicer cost, and can I still get one?
            What is the price of the Vega egg cooker?
            Is the Orion food steamer sold out?
            I would like to buy a soup maker, do you sell those?
        """
        with self._db() as db:
            rows = {row["name"]: row for row in db.execute("SELECT * FROM products ORDER BY sku")}
        found = meant(product, {n: [a for a in row["also"].split(", ") if a] for n, row in rows.items()})
        if not found:
            raise ToolError(f'The shop has no product called "{product[:60]}".', "Ask for another name.")
        if len(found) > 1:
            raise ToolError(f"There are several: {_listed(found, 'or')}?", "Ask which one is meant.")
        row = rows[found[0]]
        stock = {0: " and is out of stock", 1: "; 1 is in stock"}.get(
            row["stock"], f"; {row['stock']} are in stock"
        )
        return Product(row["sku"], f"The {row['name']} costs {_euros(row['price_cents'])}{stock}.")

    def create_ticket(
        self, customer_id: CustomerId, said: Annotated[str, UserWords], order_id: OrderId | None = None
    ) -> Ticket:
        """Open a ticket to report or complain about a problem: broken, faulty, damaged, scratched, wrong or missing.

        Args:
            customer_id: Number of the customer.
            said: What the customer said.
            order_id: Order number that the problem is about.

        Examples:
            My toaster stopped working, I want to complain.
            The lid arrived broken, please open a ticket.
            There is a part missing in the box of order 10333, my mail is tom@example.com.
            The machine leaks, can somebody help me?
            You sent me the wrong colour.
        """
        said = said.encode("utf-8", "replace").decode("utf-8")  # half of a character cannot be stored
        # the same words while their ticket is open are a retry, and the same ticket
        if not said.strip():
            raise ToolError("A ticket needs words.", "Ask what the problem is.")
        with self._db(write=True) as db:
            _require_customer(db, customer_id)
            if order_id is not None:
                owner = _one(db, "SELECT customer_id FROM orders WHERE order_id = ?", order_id)
                if owner is None:
                    raise _no_order(order_id)
                if owner["customer_id"] != customer_id:
                    raise ToolError(
                        f"Order {order_id} belongs to another customer.", "Ask for the order number again."
                    )
            same = _one(
                db,
                "SELECT ticket_id FROM tickets WHERE customer_id = ? AND order_id IS ? AND said = ? AND status = 'open'",
                customer_id,
                order_id,
                said,
            )
            row = {"customer_id": customer_id, "order_id": order_id, "said": said, "created": str(TODAY)}
            ticket_id = same["ticket_id"] if same else self._write(db, "ticket", row)
        about = f" about order {order_id}" if order_id is not None else ""
        return Ticket(
            ticket_id, f"Ticket {ticket_id}{about} is open; a colleague answers within 2 working days."
        )

    def schedule_callback(self, customer_id: CustomerId, day: Day, time: Time) -> Callback:
        """Book a callback: call, ring, phone or telephone me on a weekday at a time, to talk to a person.

        Args:
            customer_id: Number of the customer.
            day: Day of the call.
            time: Time of the call, as HH:MM.

        Examples:
            Please call me back on Monday at 2 pm.
            Can someone phone me on Thursday at 9:30?
            I would like to talk to a person, ring me on Friday at noon.
            Call me on Wednesday morning at 10, not earlier, my mail is kim@example.com.
        """
        with self._db(write=True) as db:
            _require_customer(db, customer_id)
            taken = {
                row["time"]: row
                for row in db.execute("SELECT * FROM callbacks WHERE day = ? ORDER BY time", (day,))
            }
            free = [t for t in TIMES if t not in taken]
            when = f"Free on {day}: {', '.join(free)}." if free else f"Nothing is free on {day}."
            if time not in TIMES:
                raise ToolError(
                    f"Calls start every half hour from 09:00 to 16:30. {when}", "Ask for another time."
                )
            if time in taken and taken[time]["customer_id"] != customer_id:
                raise ToolError(f"{day} at {time} is already taken. {when}", "Ask for another time.")
            row = {"customer_id": customer_id, "day": day, "time": time, "created": str(TODAY)}
            callback_id = taken[time]["callback_id"] if time in taken else self._write(db, "callback", row)
        return Callback(callback_id, f"We will call you on {day}, {WEEK[day]}, at {time}.")

    def search_articles(self, question: str) -> Article:
        """Rules and advice: how long and how much for returns, warranty, free shipping, express, payment, gifts; how to clean, descale or use an appliance.

        Args:
            question: What the customer wants to know.

        Examples:
            How long do I have to send something back?
            Can I pay by invoice?
            How do I clean the juicer?
            Is the blade covered by the warranty?
            Do you ship abroad?
            How much is express delivery?
            What temperature is right for green tea?
            Can I change my address after ordering?
        """
        articles = self._articles()
        passage = articles.answer(question)
        if passage is None:
            raise ToolError("The articles say nothing about that.", "Ask in other words, or open a ticket.")
        near = (p.text for p in articles.search(question) if p.source == passage.source)
        # the steps often follow the passage with the words
        said = list(dict.fromkeys([passage.text, *near]))[:2]
        return Article(passage.source, f"{' '.join(said)} [{passage.source}]")

    def _articles(self) -> Knowledge:
        if self._knowledge is None:
            from labkit import data
            from labkit.knowledge import Knowledge

            knowledge = Knowledge()
            knowledge.add_folder(data.path("desk/requests.jsonl").parent / "articles")
            self._knowledge = knowledge  # only when it is full: another thread may be waiting to search
        return self._knowledge

    @contextmanager
    def _db(self, *, write: bool = False) -> Generator[sqlite3.Connection]:
        with session(
            self.path, write=write, error=ToolError, read_only=self.read_only, wait_s=self.wait_s
        ) as db:
            yield db

    def _write(self, db: sqlite3.Connection, kind: str, row: dict[str, Any]) -> int:
        """Insert a row and its entry in the outbox; returns the row's number."""
        names = ", ".join(row)
        marks = ", ".join("?" * len(row))
        number = db.execute(f"INSERT INTO {kind}s ({names}) VALUES ({marks})", tuple(row.values())).lastrowid
        assert number is not None
        outbox.append(db, kind, {f"{kind}_id": number, **row}, row["created"])
        return number


def _one(db: sqlite3.Connection, query: str, *values: object) -> Any:
    return db.execute(query, values).fetchone()


def _require_customer(db: sqlite3.Connection, customer_id: str) -> None:
    if _one(db, "SELECT 1 FROM customers WHERE customer_id = ?", customer_id) is None:
        raise ToolError(f"There is no customer {customer_id}.", "Look the customer up first.")


def _no_order(order_id: int) -> ToolError:
    return ToolError(f"There is no order {order_id}.", "Ask for the order number again.")


def _euros(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02d} euros"


def _listed(names: list[str], word: str) -> str:
    start = ", ".join(f"the {name}" for name in names[:-1])
    return f"{start} {word} the {names[-1]}"
