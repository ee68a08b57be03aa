"""labkit: the small package that the labs of Edge Agents Lab build up to and then import."""

from labkit.check import check
from labkit.client import Client, load
from labkit.messages import Completion, Message, Request, ToolCall, ToolResult, Usage, assistant, system, user
from labkit.sampling import sample, softmax

__version__ = "0.1.0"
__all__ = [
    "Client",
    "Completion",
    "Message",
    "Request",
    "ToolCall",
    "ToolResult",
    "Usage",
    "assistant",
    "check",
    "load",
    "sample",
    "softmax",
    "system",
    "user",
]
