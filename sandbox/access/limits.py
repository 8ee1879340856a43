"""What each account may use at most: what was said of it, else what the settings say of any."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sandbox.access.store import AccessStore
    from sandbox.settings import Settings

CODE_STORAGE_BYTES = 322_122_547_200


class AccountLimits:
    """Limits by account, as they are now. None: no limit."""

    def __init__(
        self,
        *,
        concurrency: int = 1000,
        functions: int | None = None,
        code_storage_bytes: int = CODE_STORAGE_BYTES,
        queued_events: int | None = None,
        memory_mib: int | None = None,
        store: AccessStore | None = None,
    ) -> None:
        """Those of any account, and where those of single accounts are kept."""
        self._concurrency = concurrency
        self._functions = functions
        self._code_storage_bytes = code_storage_bytes
        self._queued_events = queued_events
        self._memory_mib = memory_mib
        self._store = store

    @classmethod
    def of(cls, settings: Settings, store: AccessStore) -> AccountLimits:
        return cls(
            concurrency=settings.account_concurrency,
            functions=settings.account_functions or None,
            code_storage_bytes=settings.account_code_bytes,
            queued_events=settings.account_queued_events or None,
            memory_mib=settings.account_memory or None,
            store=store,
        )

    def concurrency(self, account: str) -> int:
        """Calls at once in a region."""
        own = self._store.limits(account).concurrency if self._store else None
        return self._concurrency if own is None else own

    def functions(self, account: str) -> int | None:
        own = self._store.limits(account).functions if self._store else None
        return self._functions if own is None else own

    def code_storage_bytes(self, account: str) -> int:
        """Of functions' and layers' packages."""
        own = self._store.limits(account).code_storage_bytes if self._store else None
        return self._code_storage_bytes if own is None else own

    def queued_events(self, account: str) -> int | None:
        """Events that have not ended."""
        own = self._store.limits(account).queued_events if self._store else None
        return self._queued_events if own is None else own

    def memory_mib(self, account: str) -> int | None:
        """MemorySize of all calls that run at once."""
        own = self._store.limits(account).memory_mib if self._store else None
        return self._memory_mib if own is None else own
