"""What the runtime loops of ours, Java's and Ruby's, make of handlers and of their failures."""

from __future__ import annotations

import pytest

from tests.support.images import compiled, ensure
from tests.support.instance import Deploy

JAVA = """
package example;

import com.amazonaws.services.lambda.runtime.Context;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.util.List;

public class Handlers {
    public static class Order {
        public String id;
        public List<Order> parts;
        private int count;

        public int getCount() {
            return count;
        }

        public void setCount(int count) {
            this.count = count;
        }
    }

    public Order order(Order order, Context context) {
        order.setCount(order.getCount() + 1);
        return order;
    }

    public String text(String text) {
        return text + "!";
    }

    public static int number(int number) {
        return number * 2;
    }

    public void stream(InputStream in, OutputStream out, Context context) throws IOException {
        in.transferTo(out);
    }

    public void nothing() {}

    public Object fails(Object event) {
        try {
            throw new IOException("inner");
        } catch (IOException error) {
            throw new IllegalStateException("outer", error);
        }
    }
}
"""

RUBY = """
require 'logger'
require 'stringio'

module Shop
  class Orders
    def self.place(event:, context:)
      { placed: event }
    end
  end
end

def stream(event:, context:)
  StringIO.new('{"raw":true}')
end

def logs(event:, context:)
  Logger.new($stdout).warn('careful')
end

def endless(event:, context:)
  loop { return [1.0 / 0] }
end

def recursion(event:, context:)
  recursion(event: event, context: context)
end
"""


@pytest.fixture(scope="module")
def java(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | bytes]:
    ensure("java21")
    return compiled({"Handlers.java": JAVA}, tmp_path_factory.mktemp("java"))


@pytest.mark.parametrize(
    ("method", "event", "result"),
    [
        (
            "order",
            {"id": "a", "COUNT": 3, "unknown": 1, "parts": [{"id": "b"}]},
            {"id": "a", "count": 4, "parts": [{"id": "b", "count": 0, "parts": None}]},
        ),
        ("text", "é", "é!"),
        ("number", 21, 42),
        ("stream", {"a": [1]}, {"a": [1]}),
        ("nothing", None, None),
    ],
)
def test_a_java_handler_may_have_any_of_lambdas_signatures(
    deploy: Deploy, java: dict[str, str | bytes], method: str, event: object, result: object
) -> None:
    function = deploy(java, Runtime="java21", Handler=f"example.Handlers::{method}")
    assert function.invoke(event).document == result


def test_a_java_exception_has_its_trace_and_its_cause(
    deploy: Deploy, java: dict[str, str | bytes]
) -> None:
    answer = deploy(java, Runtime="java21", Handler="example.Handlers::fails").invoke({})
    document = answer.document
    assert (document["errorType"], document["errorMessage"]) == (
        "java.lang.IllegalStateException",
        "outer",
    )
    assert document["stackTrace"][0].startswith("example.Handlers.fails(Handlers.java:")
    assert document["cause"]["errorType"] == "java.io.IOException"
    assert "outer: java.lang.IllegalStateException\n" in answer.log
    assert "Caused by: java.io.IOException: inner" in answer.log


@pytest.mark.parametrize(
    ("handler", "error_type", "message"),
    [
        ("example.None", "java.lang.ClassNotFoundException", "Class not found: example.None"),
        (
            "example.Handlers::none",
            "java.lang.NoSuchMethodException",
            "No public method named none with appropriate method signature found on class "
            "example.Handlers",
        ),
        (
            "example.Handlers",
            "java.lang.NoSuchMethodException",
            "Class example.Handlers does not implement an appropriate handler interface",
        ),
    ],
)
def test_a_java_handler_that_is_not_there_is_named(
    deploy: Deploy, java: dict[str, str | bytes], handler: str, error_type: str, message: str
) -> None:
    answer = deploy(java, Runtime="java21", Handler=handler).invoke({})
    assert answer.error == "Unhandled"
    assert answer.document["errorType"] == error_type
    assert answer.document["errorMessage"] == message


@pytest.fixture(scope="module")
def ruby() -> str:
    ensure("ruby3.3")
    return "ruby3.3"


def test_a_ruby_handler_may_be_a_method_of_a_class(deploy: Deploy, ruby: str) -> None:
    function = deploy({"app.rb": RUBY}, Runtime=ruby, Handler="app.Shop::Orders.place")
    assert function.invoke([1]).document == {"placed": [1]}


def test_a_ruby_handler_may_return_a_stream(deploy: Deploy, ruby: str) -> None:
    function = deploy({"app.rb": RUBY}, Runtime=ruby, Handler="app.stream")
    assert function.invoke().body == b'{"raw":true}'


def test_ruby_loggers_write_the_requests_id(deploy: Deploy, ruby: str) -> None:
    answer = deploy({"app.rb": RUBY}, Runtime=ruby, Handler="app.logs").invoke()
    assert f" WARN {answer.request_id} -- : careful\n" in answer.log


@pytest.mark.parametrize(
    ("handler", "error_type"),
    [
        ("app.endless", "Function<JSON::GeneratorError>"),
        ("app.recursion", "Function<SystemStackError>"),
        ("app.absent", "Function<NoMethodError>"),
        ("absent.handler", "Init<LoadError>"),
        ("app", "Init<ArgumentError>"),
    ],
)
def test_what_goes_wrong_in_ruby_has_its_name_and_the_next_call_works(
    deploy: Deploy, ruby: str, handler: str, error_type: str
) -> None:
    function = deploy({"app.rb": RUBY}, Runtime=ruby, Handler=handler)
    for _ in range(2):
        answer = function.invoke({})
        assert answer.error == "Unhandled"
        assert answer.document["errorType"] == error_type
