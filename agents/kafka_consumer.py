"""aiokafka's consumer, which can also be stopped while its broker goes away."""

from __future__ import annotations

import asyncio

from aiokafka import AIOKafkaConsumer

__all__ = ["Consumer"]


class Consumer(AIOKafkaConsumer):  # type: ignore[misc]
    """As aiokafka's, but `stop` does not end as cancelled where nobody has cancelled it.

    A fetch that has failed waits before it asks again, and aiokafka lets out that `stop` cancels it there: its
    connections stay open, and whoever stops it ends with a traceback.
    """

    async def stop(self) -> None:
        """Leave the group and close all connections."""
        try:
            await super().stop()
        except asyncio.CancelledError:
            await self._client.close()
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
