"""What the conformance suites share: where the gateway is, and inputs.

The suite `tests/sdk.rs` starts a gateway in front of the mock provider and passes its address and keys in the environment.
Models are `mock/BEHAVIOUR` (openai-chat, openai-responses) and `claude/BEHAVIOUR` (anthropic): see `ai-gateway mock --help`.
"""

import os

GATEWAY = os.environ["GATEWAY_URL"]
KEY = os.environ["GATEWAY_KEY"]

# A red pixel.
PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
)

WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
}

# Longer than the 10 MiB that every part on the way must carry.
LONG_PROMPT = "All work and no play makes a long prompt. " * 256_000
assert len(LONG_PROMPT) > 10 * 1024 * 1024
