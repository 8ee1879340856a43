"""The tables, for SQLite and PostgreSQL. `migrations/` builds them; a test compares the two.

Documents are kept whole, as JSON: their members belong to Lambda and grow with it. Columns are
what is queried or what Lambda's documents do not say.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)

metadata = MetaData()


def _key(*, primary: bool = True) -> list[Column[str]]:
    return [
        Column("account", Text, primary_key=primary, nullable=False),
        Column("region", Text, primary_key=primary, nullable=False),
        Column("name", Text, primary_key=primary, nullable=False),
    ]


def _of_a_function() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(
        ["account", "region", "name"],
        ["functions.account", "functions.region", "functions.name"],
        ondelete="CASCADE",
    )


functions = Table(
    "functions",
    metadata,
    *_key(),
    Column("tags", JSON, nullable=False),
    Column("last_version", Integer, nullable=False),
    Column("reserved_concurrency", Integer),
    Column("recursive_loop", Text, nullable=False, server_default="Terminate"),
)

versions = Table(
    "versions",
    metadata,
    *_key(),
    Column("version", Text, primary_key=True),
    Column("configuration", JSON, nullable=False),
    Column("revision", Text, nullable=False),
    Column("code_sha256", Text),
    Column("code_size", BigInteger),
    Column("unpacked_size", BigInteger),
    Column("image_uri", Text),
    Column("image_id", Text),
    Column("layers_sha256", Text),
    Column("layers_size", BigInteger),
    Column("layers_unpacked_size", BigInteger),
    Column("source", JSON(none_as_null=True)),
    _of_a_function(),
)

aliases = Table(
    "aliases",
    metadata,
    *_key(),
    Column("alias", Text, primary_key=True),
    Column("function_version", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("weights", JSON, nullable=False),
    Column("revision_id", Text, nullable=False),
    _of_a_function(),
)

event_invoke_configs = Table(
    "event_invoke_configs",
    metadata,
    *_key(),
    Column("qualifier", Text, primary_key=True),
    Column("last_modified", Float(53), nullable=False),
    Column("maximum_retry_attempts", Integer),
    Column("maximum_event_age", Integer),
    Column("on_success", Text),
    Column("on_failure", Text),
    _of_a_function(),
)

# what hangs on a qualifier: see `attachments`
policies = Table(
    "policies",
    metadata,
    *_key(),
    Column("qualifier", Text, primary_key=True),
    Column("document", JSON, nullable=False),
    Column("revision_id", Text, nullable=False),
    _of_a_function(),
)

function_urls = Table(
    "function_urls",
    metadata,
    *_key(),
    Column("qualifier", Text, primary_key=True),
    Column("url_id", Text, nullable=False, unique=True),
    Column("auth_type", Text, nullable=False),
    Column("cors", JSON, nullable=False),
    Column("invoke_mode", Text),
    Column("created_at", Float(53), nullable=False),
    Column("modified_at", Float(53), nullable=False),
    _of_a_function(),
)

runtime_management = Table(
    "runtime_management",
    metadata,
    *_key(),
    Column("qualifier", Text, primary_key=True),
    Column("update_on", Text, nullable=False),
    Column("runtime_version_arn", Text),
    _of_a_function(),
)

provisioned_concurrency = Table(
    "provisioned_concurrency",
    metadata,
    *_key(),
    Column("qualifier", Text, primary_key=True),
    Column("requested", Integer, nullable=False),
    Column("last_modified", Float(53), nullable=False),
    _of_a_function(),
)

# the numbers that a deleted function has used up, for the next one of its name
used_versions = Table(
    "used_versions",
    metadata,
    *_key(),
    Column("last_version", Integer, nullable=False),
)

# layers that were ever published: version numbers are not used twice
layers = Table(
    "layers",
    metadata,
    *_key(),
    Column("last_version", Integer, nullable=False),
)

layer_versions = Table(
    "layer_versions",
    metadata,
    *_key(),
    Column("version", Integer, primary_key=True),
    Column("document", JSON, nullable=False),
    Column("code_sha256", Text, nullable=False),
    Column("code_size", BigInteger, nullable=False),
    Column("unpacked_size", BigInteger, nullable=False),
    Column("policy", JSON, nullable=False),
)

# who may call: see `sandbox.access`; NULL is the instance's own limit
accounts = Table(
    "accounts",
    metadata,
    Column("account", Text, primary_key=True, nullable=False),
    Column("name", Text, nullable=False, unique=True),
    Column("created_at", Float(53), nullable=False),
    Column("concurrency", BigInteger),
    Column("functions", BigInteger),
    Column("code_storage_bytes", BigInteger),
    Column("queued_events", BigInteger),
    Column("memory_mib", BigInteger),
)

# users and roles
identities = Table(
    "identities",
    metadata,
    Column("account", Text, primary_key=True, nullable=False),
    Column("kind", Text, primary_key=True, nullable=False),
    Column("name", Text, primary_key=True, nullable=False),
    Column("policies", JSON, nullable=False),
    Column("created_at", Float(53), nullable=False),
    ForeignKeyConstraint(["account"], ["accounts.account"], ondelete="CASCADE"),
)

# without their secrets, which come from the salt and the instance's secret
access_keys = Table(
    "access_keys",
    metadata,
    Column("access_key", Text, primary_key=True, nullable=False),
    Column("account", Text, nullable=False),
    Column("user_name", Text),
    Column("salt", Text, nullable=False),
    Column("active", Boolean, nullable=False),
    Column("created_at", Float(53), nullable=False),
    ForeignKeyConstraint(["account"], ["accounts.account"], ondelete="CASCADE"),
)

events = Table(
    "events",
    metadata,
    # an ever-growing number: SQLite fills in INTEGER keys only
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    *_key(primary=False),
    Column("qualifier", Text),
    Column("request_id", Text, nullable=False),
    Column("trace_id", Text),
    Column("tenant_id", Text),
    Column("enqueued_at", Float(53), nullable=False),
    Column("due_at", Float(53), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("refusals", Integer, nullable=False),
    Column("leased", Boolean, nullable=False),
    # last, so that SQLite finds the others without reading through it
    Column("payload", LargeBinary, nullable=False),
)
Index(
    "events_due",
    events.c.account,
    events.c.region,
    events.c.name,
    events.c.leased,
    events.c.due_at,
)

# messages about the end of events, on their way to a dead-letter queue or a destination
deliveries = Table(
    "deliveries",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    *_key(primary=False),
    Column("qualifier", Text),
    Column("request_id", Text, nullable=False),
    Column("trace_id", Text),
    Column("kind", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("attributes", JSON, nullable=False),
    Column("created_at", Float(53), nullable=False),
    Column("due_at", Float(53), nullable=False),
    Column("failures", Integer, nullable=False),
    Column("leased", Boolean, nullable=False),
    Column("body", LargeBinary, nullable=False),
)
Index("deliveries_due", deliveries.c.target, deliveries.c.leased, deliveries.c.due_at)

# events that failed and that nobody was told of; and messages that could not be delivered
dead_events = Table(
    "dead_events",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    *_key(primary=False),
    Column("qualifier", Text),
    Column("request_id", Text, nullable=False),
    Column("trace_id", Text),
    Column("tenant_id", Text),
    Column("died_at", Float(53), nullable=False),
    Column("reason", Text, nullable=False),
    # of an event
    Column("condition", Text),
    Column("attempts", Integer),
    # of a message
    Column("kind", Text),
    Column("target", Text),
    Column("attributes", JSON),
    Column("created_at", Float(53), nullable=False),
    Column("body", LargeBinary, nullable=False),
)
