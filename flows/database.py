"""Prefect's database on SQLite, in which a request for slots takes its turn rather than being refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from prefect.server.database.configurations import AioSqliteConfiguration
from prefect.server.database.dependencies import set_database_config
from prefect.server.utilities.database import get_dialect
from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL
from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

SLOTS = "/v2/concurrency_limits/"
"""What the path of a request for slots holds."""

_asks_for_slots: ContextVar[bool] = ContextVar("asks for slots", default=False)


class _Database(AioSqliteConfiguration):
    @asynccontextmanager
    async def begin_transaction(
        self, session: AsyncSession, with_for_update: bool = False
    ) -> AsyncIterator[AsyncSessionTransaction]:
        async with super().begin_transaction(session, with_for_update or _asks_for_slots.get()) as transaction:
            yield transaction


def taking_turns(app: ASGIApp) -> ASGIApp:
    """Return Prefect's application with requests for slots that begin with the right to write.

    A task with a tag asks for its slots just when the server writes that it is pending. Such a request reads before it
    writes, and where somebody else wrote in between, SQLite refuses it at once. Prefect's client asks again after two
    seconds and longer, six times in all, and then fails the flow. A database other than SQLite is left as it is.
    """
    url = PREFECT_API_DATABASE_CONNECTION_URL.value()
    if get_dialect(url).name != "sqlite":
        return app
    set_database_config(_Database(connection_url=url))

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        token = _asks_for_slots.set(SLOTS in scope.get("path", ""))
        try:
            await app(scope, receive, send)
        finally:
            _asks_for_slots.reset(token)

    return wrapped
