"""Jobs that do nothing, for the Python workers. `python3 noop.py PEER COUNT` enqueues so many."""

import asyncio
import os
import sys
from urllib.parse import urlparse

URL = os.environ["REDIS_URL"]


def noop(lead):
    pass


async def arq_noop(ctx, lead):
    pass


class ArqSettings:
    """What `arq noop.ArqSettings` runs."""

    functions = [arq_noop]
    max_jobs = 100
    keep_result = 0
    poll_delay = 0.01
    try:
        from arq.connections import RedisSettings

        redis_settings = RedisSettings(port=urlparse(URL).port)
    except ImportError:
        pass


try:
    import celery

    app = celery.Celery("noop", broker=URL)
    app.conf.task_ignore_result = True
    celery_noop = app.task(noop)
except ImportError:
    pass


def enqueue(peer, count):
    if peer == "celery":
        for n in range(count):
            celery_noop.delay(n)
    elif peer == "rq":
        import redis
        import rq

        connection = redis.Redis.from_url(URL)
        queue = rq.Queue(connection=connection)
        jobs = [rq.Queue.prepare_data(noop, (n,), result_ttl=0) for n in range(count)]
        queue.enqueue_many(jobs)
    elif peer == "arq":
        from arq import create_pool

        async def push():
            pool = await create_pool(ArqSettings.redis_settings)
            for n in range(count):
                await pool.enqueue_job("arq_noop", n)

        asyncio.run(push())


if __name__ == "__main__":
    enqueue(sys.argv[1], int(sys.argv[2]))
