"""What each account may use at most: what was said of it, else what the settings say of any."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sandbox.access.store import Limits

if TYPE_CHECKING:
    from sandbox.access.store import AccessStore
    from sandbox.settings import Settings

CONCURRENCY = 1000
CODE_STORAGE_BYTES = 322_122_547_200


class AccountLimits:
    """Limits by account, as they are now. None: no limit."""

    def __init__(self, store: AccessStore | None = None, **limits: int | None) -> None:
        """`limits`: those of any account, by the names of Limits' members; `store`: where those of
        single accounts are kept."""
        usual = {"concurrency": CONCURRENCY, "code_storage_bytes": CODE_STORAGE_BYTES}
        self._any = Limits(**{**usual, **limits})
        self._store = store

    @classmethod
    def of(cls, settings: Settings, store: AccessStore) -> AccountLimits:
        return cls(
            store,
            concurrency=settings.account_concurrency,
            functions=settings.account_functions or None,
            code_storage_bytes=settings.account_code_bytes,
            queued_events=settings.account_queued_events or None,
            memory_mib=settings.account_memory or None,
        )

    def concurrency(self, account: str) -> int:
        """Calls at once in a region."""
        most: int = self._most(account, "concurrency")
        return most

    def functions(self, account: str) -> int | None:
        most: int | None = self._most(account, "functions")
        return most

    def code_storage_bytes(self, account: str) -> int:
        """Of functions' and layers' packages."""
        most: int = self._most(account, "code_storage_bytes")
        return most

    def queued_events(self, account: str) -> int | None:
        """Events that have not ended."""
        most: int | None = self._most(account, "queued_events")
        return most

    def memory_mib(self, account: str) -> int | None:
        """MemorySize of all calls that run at once."""
        most: int | None = self._most(account, "memory_mib")
        return most

    def _most(self, account: str, name: str) -> Any:
        own = getattr(self._store.limits(account), name) if self._store else None
        return getattr(self._any, name) if own is None else own
