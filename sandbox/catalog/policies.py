"""Resource policies: who else may use a resource, as documents of IAM's language.

Pure functions from a policy to the policy as it is then. Source: the Lambda API reference,
AddLayerVersionPermission and its siblings.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sandbox.errors import Conflict, NotFound, PolicyTooLong

Statement = Mapping[str, Any]

LIMIT = 20_480
"""Bytes of a policy."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The statements on one resource; without any there is no policy."""

    statements: Mapping[str, Statement] = field(default_factory=dict)
    """By statement id, in the order in which they were added."""
    revision_id: str = ""

    @property
    def text(self) -> str:
        """The document as Lambda answers it: JSON in a string."""
        statements = list(self.statements.values())
        return written({"Version": "2012-10-17", "Id": "default", "Statement": statements})


def statement(
    sid: str,
    *,
    principal: str | Mapping[str, str],
    action: str,
    resource: str,
    condition: Mapping[str, Mapping[str, str]] | None = None,
) -> Statement:
    """One statement that allows; an empty condition is left out."""
    return {
        "Sid": sid,
        "Effect": "Allow",
        "Principal": principal,
        "Action": action,
        "Resource": resource,
        **({"Condition": condition} if condition else {}),
    }


def added(policy: Policy, new: Statement) -> Policy:
    """With one more statement. Raises Conflict for an id in use, PolicyTooLong."""
    sid = new["Sid"]
    if sid in policy.statements:
        raise Conflict(
            f"The statement id ({sid}) provided already exists. Please provide a new statement "
            "id, or remove the existing statement."
        )
    longer = Policy({**policy.statements, sid: new}, str(uuid.uuid4()))
    size = len(longer.text.encode())
    if size > LIMIT:
        raise PolicyTooLong(f"The final policy size ({size}) is bigger than the limit ({LIMIT}).")
    return longer


def removed(policy: Policy, sid: str) -> Policy:
    """Without one statement. Raises NotFound when there is no policy, or no such statement."""
    existing(policy)
    if sid not in policy.statements:
        raise NotFound(f"Statement {sid} is not found in resource policy.")
    left = {name: one for name, one in policy.statements.items() if name != sid}
    return Policy(left, str(uuid.uuid4()))


def existing(policy: Policy) -> Policy:
    """The policy, when it says anything; else NotFound."""
    if not policy.statements:
        raise NotFound("No policy is associated with the given resource.")
    return policy


def written(document: Mapping[str, Any]) -> str:
    """A statement or a policy as Lambda puts it into a string."""
    return json.dumps(document, separators=(",", ":"))
