"""The table: which rule draws a random operation, and when such an operation draws nothing.

To add an operation, add a line to `RULES`: from the packet (all overloads) or from one overload to a
`Rule`. Its ``draw`` takes a `Call`, whose tensors have the draw axis in front, and gives the value for
all draws of ``call.at``; an in-place operation changes ``call["self"]`` and gives it back. A draw must
not depend on which others are made with it. An operation that torch tags as random although it may
draw nothing has ``silent``, which tells from the arguments, by name, when that is so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from pyro_posterior.errors import CannotSliceError
from pyro_posterior.keyed import angles, filling, gammas, poissons, samplers
from pyro_posterior.keyed.calls import Call, by_name
from pyro_posterior.keyed.keys import Key, Where

#: How the draws of a rule are spread where there are hypercubes.
STRATIFIED, PARTLY, INDEPENDENT = "stratified", "partly stratified", "independent"


def _never(arguments: dict[str, Any]) -> bool:
    return False


@dataclass(frozen=True)
class Rule:
    """How an operation is drawn."""

    draw: Callable[[Call], Any] | None  # None: no way is known
    how: str = STRATIFIED
    silent: Callable[[dict[str, Any]], bool] = _never


def _eval(arguments: dict[str, Any]) -> bool:
    return not arguments.get("train", arguments.get("training"))


def _no_dropout(arguments: dict[str, Any]) -> bool:
    return not arguments["dropout_p"]


def _no_dropout_between_layers(arguments: dict[str, Any]) -> bool:
    return not arguments["dropout"] or not arguments["train"]


def _by_packet(rules: dict[str, Rule]) -> dict[Any, Rule]:
    """As far as this version of torch has the operations."""
    packets = {name: getattr(torch.ops.aten, name, None) for name in rules}
    return {packets[name]: rule for name, rule in rules.items() if packets[name] is not None}


_ATTENTION = Rule(None, silent=_no_dropout)
_RECURRENT = Rule(None, silent=_no_dropout_between_layers)

RULES: dict[Any, Rule] = _by_packet(
    {
        "normal_": Rule(filling.normal_),
        "normal": Rule(filling.normal),
        "normal_functional": Rule(filling.normal_functional),
        "randn": Rule(filling.randn),
        "randn_like": Rule(filling.randn_like),
        "uniform_": Rule(filling.uniform_),
        "rand": Rule(filling.rand),
        "rand_like": Rule(filling.rand_like),
        "exponential_": Rule(filling.exponential_),
        "cauchy_": Rule(filling.cauchy_),
        "log_normal_": Rule(filling.log_normal_),
        "geometric_": Rule(filling.geometric_),
        "random_": Rule(filling.random_),
        "randint": Rule(filling.randint),
        "randint_like": Rule(filling.randint_like),
        "bernoulli": Rule(filling.bernoulli),
        "bernoulli_": Rule(filling.bernoulli_),
        "native_dropout": Rule(filling.native_dropout, silent=_eval),
        "dropout": Rule(filling.dropout, silent=_eval),
        "_fused_dropout": Rule(filling.fused_dropout),
        "rrelu_with_noise": Rule(filling.rrelu, silent=_eval),
        "rrelu_with_noise_": Rule(filling.rrelu_, silent=_eval),
        "_standard_gamma": Rule(gammas.standard_gamma, PARTLY),
        "_sample_dirichlet": Rule(gammas.dirichlet, PARTLY),
        "multinomial": Rule(samplers.multinomial),
        "poisson": Rule(poissons.poisson),
        "binomial": Rule(samplers.binomial, INDEPENDENT),
        "randperm": Rule(samplers.randperm, INDEPENDENT),
        "_fused_sdp_choice": Rule(None, silent=lambda arguments: True),
        "scaled_dot_product_attention": _ATTENTION,
        "_scaled_dot_product_attention_math": _ATTENTION,
        "_scaled_dot_product_flash_attention": _ATTENTION,
        "_scaled_dot_product_flash_attention_for_cpu": _ATTENTION,
        "_scaled_dot_product_efficient_attention": _ATTENTION,
        "_scaled_dot_product_cudnn_attention": _ATTENTION,
        "_scaled_dot_product_fused_attention_overrideable": _ATTENTION,
        "_flash_attention_forward": _ATTENTION,
        "_efficient_attention_forward": _ATTENTION,
        "_cudnn_rnn": _RECURRENT,
        "lstm": _RECURRENT,
        "gru": _RECURRENT,
        "rnn_tanh": _RECURRENT,
        "rnn_relu": _RECURRENT,
        "alpha_dropout": Rule(None, silent=_eval),
        "feature_dropout": Rule(None, silent=_eval),
        "feature_alpha_dropout": Rule(None, silent=_eval),
        "rrelu": Rule(None, silent=_eval),
    }
) | {
    angles.von_mises_op: Rule(angles.von_mises, INDEPENDENT),
    angles.sine_bivariate_op: Rule(angles.sine_bivariate, INDEPENDENT),
}


def rule_of(func: Any) -> Rule | None:
    """The rule of an overload; None where it has none."""
    return RULES.get(func) or RULES.get(getattr(func, "overloadpacket", None))


def is_random(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether this call of an ATen operation draws random numbers."""
    rule = rule_of(func)
    if rule is None:
        return torch.Tag.nondeterministic_seeded in func.tags
    return rule.silent is _never or not rule.silent(by_name(func, args, kwargs))


def draw_many(func: Any, key: Key, at: Where, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The draws of ``at`` of one random operation, the draw axis in front.

    Tensors among the arguments have the draw axis in front already; sizes of factories do not.
    An in-place operation fills its first argument and returns it.

    Raises
    ------
    CannotSliceError
        The table has no way to draw it.
    """
    rule = rule_of(func)
    if rule is None or rule.draw is None:
        raise CannotSliceError(
            f"the random operation {func} (in site {key.site!r}) has no keyed form in this version; "
            "write it with torch.rand or torch.randn, or report it with the model"
        )
    arguments = by_name(func, args, kwargs)
    target = arguments.pop("out", None)
    made = rule.draw(Call(func, key, at, arguments))
    return made if target is None else target.copy_(made)


def draw_one(func: Any, key: Key, at: Where, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What the one draw of ``at`` gets, its row of what `draw_many` gives; no axis in front."""
    many = draw_many(func, key, at, _in_front(args), _in_front(kwargs))
    target = args[0] if str(func._schema.name).endswith("_") else kwargs.get("out")
    if target is not None:
        return target
    return tuple(part[0] for part in many) if isinstance(many, tuple) else many[0]


def _in_front(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.unsqueeze(0)
    if isinstance(value, dict):
        return {name: _in_front(part) for name, part in value.items()}
    return tuple(_in_front(part) for part in value) if isinstance(value, tuple) else value


def written(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[torch.Tensor]:
    """The tensors that a random operation fills, by its schema."""
    given = by_name(func, args, kwargs)
    names = [x.name for x in func._schema.arguments if x.alias_info and x.alias_info.is_write]
    return [given[name] for name in names if isinstance(given[name], torch.Tensor)]
