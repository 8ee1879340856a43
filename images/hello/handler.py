"""The example that `make up` deploys as my-function."""


def greet(event, context):
    name = event.get("name", "World")
    print(f"greeting {name} for request {context.aws_request_id}")
    return {"message": f"Hello, {name}!"}
