"""The application: routes, answers to errors, and the lives of the threads that run jobs."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import anyio.to_thread
from fastapi import FastAPI

from qjobs.service.assembly import Service
from qjobs.service.mqp import routes, website
from qjobs.service.mqp.portal import Portal
from qjobs.service.nexus import auth, devices, documents, jobs, people, projects, results
from qjobs.service.qoro import routes as qoro_routes
from qjobs.service.qoro.assembly import Qoro
from qjobs.service.web import pages
from qjobs.service.web.error_answers import add_handlers
from qjobs.service.web.guard import Guard


def create_app(service: Service) -> FastAPI:
    """The application; while it lives, jobs run."""
    portal = Portal.open(service)
    qoro = Qoro.open(service)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await anyio.to_thread.run_sync(service.executor.start)
        portal.scheduler.start()
        qoro.runs.start()
        try:
            yield
        finally:
            await anyio.to_thread.run_sync(qoro.runs.stop)
            await anyio.to_thread.run_sync(portal.scheduler.stop)
            await anyio.to_thread.run_sync(service.executor.stop)

    app = FastAPI(
        title="qjobs", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False
    )
    app.state.service = service
    app.state.portal = portal
    app.state.qoro = qoro
    add_handlers(app)
    most = service.settings.max_body_bytes
    limits = dict.fromkeys((*documents.URLS, jobs.URL, f"{routes.router.prefix}/"), most)
    limits[f"{qoro_routes.PREFIX}/"] = min(qoro_routes.MAX_FRAGMENT_BYTES, most)
    app.add_middleware(Guard, service=service, limits=limits)
    # The first that fits answers: those that are asked for most come first.
    for module in (jobs, results, documents, routes, qoro_routes, auth, people, projects, devices, pages, website):
        app.include_router(module.router)
    return app
