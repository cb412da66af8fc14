"""What a customer can read about its own account, and what has to be true of it."""

import time

import openai

PATIENCE = 20  # Seconds that a request may take to end once nobody reads it.


class Books:
    """The books of one account, by one of its keys."""

    def __init__(self, native: openai.OpenAI):
        self.native = native

    def balance(self) -> int:
        return self.native.get("/credits", cast_to=object)["data"]["balance"]

    def generation(self, response_id: str) -> dict:
        """The stored record behind an answer, once its meter is closed."""
        deadline = time.monotonic() + PATIENCE
        while True:
            path = f"/generations/{response_id}"
            record = self.native.get(path, cast_to=object)["data"]
            if record["finish_reason"] is not None:
                return record
            assert time.monotonic() < deadline, "the meter stays open"
            time.sleep(0.05)

    def newest(self) -> str | None:
        """The id of the last request."""
        rows = self.native.get("/generations?limit=1", cast_to=object)["data"]
        return rows[0]["id"] if rows else None

    def since(self, newest: str | None) -> list[dict]:
        """The requests made after that one, once all of them have ended."""
        deadline = time.monotonic() + PATIENCE
        while True:
            rows = self.native.get("/generations?limit=1000", cast_to=object)["data"]
            ids = [row["id"] for row in rows]
            rows = rows[: ids.index(newest) if newest else None]
            if all(row["status"] != "running" for row in rows):
                return rows
            assert time.monotonic() < deadline, "a meter stays open"
            time.sleep(0.05)

    def check(self, response_id: str, tokens: int) -> None:
        """Tokens told = tokens charged = tokens stored, of one request."""
        record = self.generation(response_id)
        assert record["tokens_completion"] == tokens
        assert record["credits"] == tokens * record["credit_multiplier"]
        stored = sum(len(choice["token_ids"]) for choice in record["choices"])
        assert stored == tokens
