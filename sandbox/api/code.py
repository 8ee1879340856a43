"""Code that a request names rather than carries: an object of S3, read where S3 is configured.

Source of the texts: answers of CreateFunction; those that fnbox alone needs are ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from sandbox.api.services import Call
from sandbox.aws.clients import NoEndpoint
from sandbox.catalog.package import S3_ZIPPED_LIMIT
from sandbox.errors import CallerError, FnboxError


class StorageUnreachable(FnboxError):
    """S3 does not answer, or breaks off."""


def with_zip(call: Call, code: Mapping[str, Any]) -> dict[str, Any]:
    """Members of a request's code, with the `ZipFile` that `S3Bucket` and `S3Key` name.

    For CreateFunction's and PublishLayerVersion's `Code` or `Content`, and UpdateFunctionCode.
    Raises CallerError, in Lambda's words, for an object that cannot be had.
    """
    if "S3Bucket" not in code:
        return dict(code)
    return {**code, "ZipFile": read_object(call, code)}


def read_object(call: Call, code: Mapping[str, Any]) -> bytes:
    """The object of S3 that `S3Bucket`, `S3Key` and `S3ObjectVersion` name.

    One that is larger than a deployment package may be is refused before it is read.
    """
    wanted = {"Bucket": code["S3Bucket"], "Key": code["S3Key"]}
    if "S3ObjectVersion" in code:
        wanted["VersionId"] = code["S3ObjectVersion"]
    context = call.context
    try:
        client = call.services.clients.get("s3", context.region, context.account)
        found = client.get_object(**wanted)
        with closing(found["Body"]) as body:
            if found["ContentLength"] > S3_ZIPPED_LIMIT:
                raise CallerError(f"Unzipped size must be smaller than {S3_ZIPPED_LIMIT} bytes")
            data: bytes = body.read()
    except ClientError as error:
        raise _refused(error) from error
    except ParamValidationError as error:
        raise CallerError(f"Error occurred while GetObject. {error}") from error
    except NoEndpoint as error:
        raise CallerError(f"Code cannot be read from S3: {error}") from error
    except BotoCoreError as error:
        raise StorageUnreachable(f"Code cannot be read from S3: {error}") from error
    return data


def _refused(error: ClientError) -> FnboxError:
    told = error.response.get("Error", {})
    text = (
        f"Error occurred while GetObject. S3 Error Code: {told.get('Code')}. "
        f"S3 Error Message: {told.get('Message')}"
    )
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
    return CallerError(text) if status < 500 else StorageUnreachable(text)
