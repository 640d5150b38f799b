"""scikit-learn: every estimator that exists or is defined later is captured where it predicts.

Also covers other libraries' estimators that derive from `BaseEstimator`. Classes are patched,
never instances, and with plain functions, so that models and their bound methods pickle as before;
`available_if` descriptors are patched inside, so that `hasattr` keeps telling the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, Final

from otel_ml.capture._base import Instrumentor, Patches

if TYPE_CHECKING:
    from otel_ml.capture._call import Switch

__all__ = ["SklearnInstrumentor"]

PREDICTING: Final = frozenset(
    {"predict", "predict_proba", "predict_log_proba", "decision_function", "score_samples"}
)
"""Methods whose outermost call is a prediction."""

SILENT: Final = frozenset({"partial_fit", "score", "transform"})
"""Methods, beside ``fit*``, inside which nothing is one: an imputer predicts in `transform`."""


class SklearnInstrumentor(Instrumentor):
    """Capture the predictions of scikit-learn estimators; the entry point is ``ml_sklearn``."""

    name = "ml_sklearn"
    requires = ("scikit-learn >= 1.5",)

    def __init__(self) -> None:
        super().__init__()
        if not hasattr(self, "_patches"):
            self._patches = Patches()
            self._base: type | None = None
            self._switch: Switch | None = None

    def hooks(self) -> Mapping[str, Callable[[ModuleType], None]]:
        """Return what to do with each module once it is imported."""
        return {
            "sklearn.base": self._patch_base,
            "sklearn.utils.parallel": self._patch_parallel,
            "sklearn.metrics._scorer": self._patch_scorer,
            "joblib": self._patch_load,
            "skops.io": self._patch_load,
        }

    def deactivate(self) -> None:
        """Put every class back as it was."""
        if self._switch is not None:
            self._switch.on = False
        self._patches.restore()
        if self._base is not None:
            for owner in _lineage(self._base):
                _release(owner)

    def _on(self) -> Switch:
        from otel_ml.capture._call import Switch

        if self._switch is None:
            self._switch = Switch()
        self._switch.on = True
        return self._switch

    def _patch_base(self, module: ModuleType) -> None:
        from otel_ml.capture._scope import prepare

        if not prepare():
            return
        switch = self._on()
        base: Any = module.BaseEstimator
        self._base = base
        if not self._patches.has(base, "__init_subclass__"):
            own = vars(base).get("__init_subclass__")

            def __init_subclass__(cls: Any, /, **kwargs: Any) -> None:
                if own is None:
                    super(base, cls).__init_subclass__(**kwargs)
                else:
                    own.__get__(None, cls)(**kwargs)
                if switch.on:
                    _adopt_lineage(cls, switch)

            self._patches.replace(base, "__init_subclass__", classmethod(__init_subclass__))
        for owner in _lineage(base):
            _adopt(owner, switch)

    def _patch_parallel(self, module: ModuleType) -> None:
        # joblib's threads do not inherit context variables: the trees of a forest would each look
        # like a call of their own. Cross-validation runs through here as well.
        self._quieten(module._FuncWrapper)

    def _patch_scorer(self, module: ModuleType) -> None:
        self._quieten(module._BaseScorer)

    def _quieten(self, owner: type) -> None:
        from otel_ml.capture._watch import is_ours, quieten

        call = vars(owner)["__call__"]
        if not is_ours(call):
            self._patches.replace(owner, "__call__", quieten(call, self._on()))

    def _patch_load(self, module: ModuleType) -> None:
        from otel_ml.capture._load import remembering

        if not self._patches.has(module, "load"):
            self._patches.replace(module, "load", remembering(module.load))


def _lineage(base: type) -> Iterator[type]:
    """Yield every class that an estimator takes methods from, mixins included, once."""
    yielded: set[type] = {object}
    visited: set[type] = set()
    waiting: list[type] = [base]
    while waiting:
        cls = waiting.pop()
        if cls in visited:
            continue
        visited.add(cls)
        for owner in cls.__mro__:
            if owner not in yielded:
                yielded.add(owner)
                yield owner
        # Asked of `type`, because a metaclass may have its own idea of its subclasses.
        waiting.extend(type.__subclasses__(cls))


def _adopt_lineage(cls: type, switch: Switch) -> None:
    for owner in cls.__mro__:
        if owner is not object:
            _adopt(owner, switch)


def _adopt(owner: type, switch: Switch) -> None:
    """Patch the methods that a class defines itself."""
    from otel_ml.capture._watch import Portable, is_ours, quieten, watch

    for name, attribute in tuple(vars(owner).items()):
        predicting = name in PREDICTING
        if not predicting and not name.startswith("fit") and name not in SILENT:
            continue
        conditional = _is_conditional(attribute)
        function = attribute.fn if conditional else attribute
        if type(function) is not FunctionType or is_ours(function):
            continue
        wrapper: Any = watch(function, name, switch) if predicting else quieten(function, switch)
        if _written_by_value(owner):
            wrapper = Portable(wrapper)
        if conditional:
            attribute.fn = wrapper
        else:
            _set(owner, name, wrapper)


def _release(owner: type) -> None:
    """Undo `_adopt`."""
    from otel_ml.capture._watch import is_ours, unwrap

    for name, attribute in tuple(vars(owner).items()):
        if _is_conditional(attribute):
            if is_ours(attribute.fn):
                attribute.fn = unwrap(attribute.fn)
        elif (name in PREDICTING or name.startswith("fit") or name in SILENT) and is_ours(
            attribute
        ):
            _set(owner, name, unwrap(attribute))


def _set(owner: type, name: str, value: object) -> None:
    try:
        setattr(owner, name, value)
    except (TypeError, AttributeError):
        # A class of an extension module cannot be changed; its Python subclasses can.
        return


def _is_conditional(attribute: object) -> bool:
    """Say whether a class attribute is an `available_if` descriptor, of any version."""
    return type(attribute).__name__ == "_AvailableIfDescriptor" and hasattr(attribute, "fn")


def _written_by_value(owner: type) -> bool:
    """Say whether cloudpickle writes a class by value, with its methods."""
    return owner.__module__ == "__main__" or "<locals>" in owner.__qualname__
