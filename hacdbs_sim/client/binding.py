"""Makes methods of operations: one description, and a method for each kind of client.

An operation is a function that gives a `Call`. Its first parameter may be the name of what it is
about (a VM, a slot), which the method takes from its object. Name, signature and docstring are
those of the operation, so the kinds of client cannot come apart.
"""

import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import update_wrapper
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar

from typing_extensions import override

from hacdbs_sim.client.answers import Answer, Page
from hacdbs_sim.client.call import Call, after

P = ParamSpec("P")
S = TypeVar("S")
T = TypeVar("T")
A = TypeVar("A", bound=Answer)
H = TypeVar("H")
R = TypeVar("R")


class Runner(Protocol):
    """Who sends calls and waits for their answers."""

    def run(self, call: Call[T]) -> T:
        """Make a call."""
        ...


class AsyncRunner(Protocol):
    """Who sends calls, for coroutines."""

    async def run(self, call: Call[T]) -> T:
        """Make a call."""
        ...


class Handle(Generic[R]):
    """An object of the service, by its name; to make one makes no call."""

    def __init__(self, client: Runner, ref: R) -> None:
        self.client = client
        self._ref = ref

    @override
    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._ref}>"


class AsyncHandle(Generic[R]):
    """An object of the service, by its name, for coroutines; to make one makes no call."""

    def __init__(self, client: AsyncRunner, ref: R) -> None:
        self.client = client
        self._ref = ref

    @override
    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._ref}>"


def as_method(method: Callable[..., Any], operation: Callable[..., Any], *, bound: bool) -> None:
    """Give a method the name, docstring and signature of its operation."""
    update_wrapper(method, operation)
    del method.__wrapped__  # type: ignore[attr-defined]  # whose signature has no self
    itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    parameters = list(inspect.signature(operation).parameters.values())[1 if bound else 0 :]
    parameters = [
        each.replace(kind=inspect.Parameter.POSITIONAL_OR_KEYWORD)
        if each.kind is inspect.Parameter.POSITIONAL_ONLY
        else each
        for each in parameters
    ]
    method.__signature__ = inspect.Signature([itself, *parameters])  # type: ignore[attr-defined]


def root(operation: Callable[P, Call[T]]) -> Callable[Concatenate[Runner, P], T]:
    """Make a method of the client."""

    def method(self: Runner, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.run(operation(*args, **kwargs))

    as_method(method, operation, bound=False)
    return method


def bound(
    operation: Callable[Concatenate[R, P], Call[T]],
) -> Callable[Concatenate[Handle[R], P], T]:
    """Make a method of an object."""

    def method(self: Handle[R], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.client.run(operation(self._ref, *args, **kwargs))

    as_method(method, operation, bound=True)
    return method


def each(runner: Runner, call: Call[Page[A]]) -> Iterator[A]:
    """Give the items of all pages of a list."""
    upcoming: Call[Page[A]] | None = call
    while upcoming is not None:
        page = runner.run(upcoming)
        yield from page.items
        upcoming = after(upcoming, page)


def root_list(
    operation: Callable[P, Call[Page[A]]],
) -> Callable[Concatenate[Runner, P], Iterator[A]]:
    """Make a method of the client that goes through all pages of a list."""

    def method(self: Runner, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[A]:
        return each(self, operation(*args, **kwargs))

    as_method(method, operation, bound=False)
    return method


def bound_list(
    operation: Callable[Concatenate[R, P], Call[Page[A]]],
) -> Callable[Concatenate[Handle[R], P], Iterator[A]]:
    """Make a method of an object that goes through all pages of a list."""

    def method(self: Handle[R], /, *args: P.args, **kwargs: P.kwargs) -> Iterator[A]:
        return each(self.client, operation(self._ref, *args, **kwargs))

    as_method(method, operation, bound=True)
    return method


def then(
    method: Callable[Concatenate[S, P], T], finish: Callable[[S, T], H]
) -> Callable[Concatenate[S, P], H]:
    """Make something of what a method gives."""

    def finished(self: S, /, *args: P.args, **kwargs: P.kwargs) -> H:
        return finish(self, method(self, *args, **kwargs))

    return _like(finished, method)


def scoping(
    operation: Callable[Concatenate[R, P], Call[T]], scope: Callable[[Runner, R, Call[T]], H]
) -> Callable[Concatenate[Handle[R], P], H]:
    """Make a method that gives a context manager, which makes the call when it is entered."""

    def method(self: Handle[R], /, *args: P.args, **kwargs: P.kwargs) -> H:
        return scope(self.client, self._ref, operation(self._ref, *args, **kwargs))

    as_method(method, operation, bound=True)
    return method


def root_async(
    operation: Callable[P, Call[T]],
) -> Callable[Concatenate[AsyncRunner, P], Coroutine[Any, Any, T]]:
    """Make a method of the client, for coroutines."""

    async def method(self: AsyncRunner, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.run(operation(*args, **kwargs))

    as_method(method, operation, bound=False)
    return method


def bound_async(
    operation: Callable[Concatenate[R, P], Call[T]],
) -> Callable[Concatenate[AsyncHandle[R], P], Coroutine[Any, Any, T]]:
    """Make a method of an object, for coroutines."""

    async def method(self: AsyncHandle[R], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.client.run(operation(self._ref, *args, **kwargs))

    as_method(method, operation, bound=True)
    return method


async def each_async(runner: AsyncRunner, call: Call[Page[A]]) -> AsyncIterator[A]:
    """Give the items of all pages of a list."""
    upcoming: Call[Page[A]] | None = call
    while upcoming is not None:
        page = await runner.run(upcoming)
        for item in page.items:
            yield item
        upcoming = after(upcoming, page)


def root_list_async(
    operation: Callable[P, Call[Page[A]]],
) -> Callable[Concatenate[AsyncRunner, P], AsyncIterator[A]]:
    """Make a method of the client that goes through all pages of a list, for coroutines."""

    def method(self: AsyncRunner, /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[A]:
        return each_async(self, operation(*args, **kwargs))

    as_method(method, operation, bound=False)
    return method


def bound_list_async(
    operation: Callable[Concatenate[R, P], Call[Page[A]]],
) -> Callable[Concatenate[AsyncHandle[R], P], AsyncIterator[A]]:
    """Make a method of an object that goes through all pages of a list, for coroutines."""

    def method(self: AsyncHandle[R], /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[A]:
        return each_async(self.client, operation(self._ref, *args, **kwargs))

    as_method(method, operation, bound=True)
    return method


def then_async(
    method: Callable[Concatenate[S, P], Coroutine[Any, Any, T]], finish: Callable[[S, T], H]
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, H]]:
    """Make something of what a coroutine gives."""

    async def finished(self: S, /, *args: P.args, **kwargs: P.kwargs) -> H:
        return finish(self, await method(self, *args, **kwargs))

    return _like(finished, method)


def scoping_async(
    operation: Callable[Concatenate[R, P], Call[T]], scope: Callable[[AsyncRunner, R, Call[T]], H]
) -> Callable[Concatenate[AsyncHandle[R], P], H]:
    """Make a method that gives a context manager, for coroutines."""

    def method(self: AsyncHandle[R], /, *args: P.args, **kwargs: P.kwargs) -> H:
        return scope(self.client, self._ref, operation(self._ref, *args, **kwargs))

    as_method(method, operation, bound=True)
    return method


F = TypeVar("F", bound=Callable[..., Any])


def _like(function: F, other: Callable[..., Any]) -> F:
    signature = inspect.signature(other)
    update_wrapper(function, other)
    del function.__wrapped__  # type: ignore[attr-defined]
    function.__signature__ = signature  # type: ignore[attr-defined]
    return function
