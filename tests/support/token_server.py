"""An MLflow server that answers only to whoever has the token: ``python -m support.token_server PORT TOKEN``."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from study.tracking.mlflow_pages import BACKEND, application

Message = MutableMapping[str, Any]


class TokenRequired:
    """Answers 401 to requests without ``Authorization: Bearer TOKEN``."""

    def __init__(self, app: Any, token: str) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode()

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        given = dict(scope.get("headers", ())).get(b"authorization")
        if scope["type"] == "http" and scope["path"] != "/health" and given != self._expected:
            await send({"type": "http.response.start", "status": 401, "headers": []})
            await send({"type": "http.response.body", "body": b"a token is required"})
            return
        await self._app(scope, receive, send)


if __name__ == "__main__":
    import uvicorn
    from mlflow.server import constants

    os.environ[constants.BACKEND_STORE_URI_ENV_VAR] = os.environ[BACKEND]
    os.environ[constants.ARTIFACTS_DESTINATION_ENV_VAR] = os.environ["ARTIFACTS"]
    os.environ[constants.ARTIFACT_ROOT_ENV_VAR] = "mlflow-artifacts:/"
    os.environ[constants.SERVE_ARTIFACTS_ENV_VAR] = "true"
    uvicorn.run(
        TokenRequired(application(), sys.argv[2]),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        log_level="warning",
    )
