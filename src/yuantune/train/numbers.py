"""Whether what a step computes can be right: losses, gradients and weights, looked at before a checkpoint is made.

What is watched stays on the device until it is looked at, all of it at once: on a CPU before the weights move; on a
GPU, where looking waits for it, when a line of the log is due or a checkpoint, which wait anyway.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from yuantune.errors import Problem, WorkFailed

UNCHANGED = 10
"""Steps after the warm-up by which some weight must have moved."""
EQUAL = 20
"""Steps with one and the same loss that are worth a note."""
IN_A_ROW = 10
"""Steps left out one after the other that end a run: it will not recover."""
SMOOTHED = 0.9
"""Share of the mean before in the running mean of the loss."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One optimizer step: its loss a supervised token, the norm of its gradient, its supervised tokens, all on the
    device, and the places of its rows (none where they are not known)."""

    step: int
    loss: torch.Tensor
    norm: torch.Tensor
    tokens: torch.Tensor
    rows: Sequence[object] = ()


class Watch:
    """Collects steps and looks at them; `note` is told once of what is odd; what is wrong raises."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._waiting: list[Seen] = []
        self._said: set[str] = set()
        self._last, self._equal = math.nan, 0
        self._mean, self._count, self._lowest = 0.0, 0, math.inf
        self._start: list[int] | None = None
        self._left_out = 0

    def add(self, seen: Seen) -> None:
        """One more step, looked at later."""
        self._waiting.append(seen)

    def look(self) -> Seen | None:
        """Look at the steps added since the last time; the first one whose loss or gradient is no number.

        Raises WorkFailed for a step that learns from nothing."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return None
        values = torch.stack([torch.stack([s.loss, s.norm, s.tokens]).double() for s in waiting]).tolist()
        for seen, (loss, norm, tokens) in zip(waiting, values, strict=True):
            if not (math.isfinite(loss) and math.isfinite(norm)):
                return seen
            if tokens <= 0:
                raise WorkFailed(
                    f"step {seen.step} has no supervised tokens: there is nothing to learn in it",
                    problems=[Problem(str(row), "none of its tokens carries loss") for row in seen.rows],
                    hint="`yuantune data show` marks what is learnt in a row; leave rows without an answer out",
                )
            if norm == 0 and seen.step == 1:
                raise _no_gradient()
            self._judge(seen.step, loss)
        return None

    def _judge(self, step: int, loss: float) -> None:
        """Note a loss that is exactly 0, does not move, or rises."""
        if loss == 0:
            self._once("zero", f"the loss of step {step} is exactly 0: there is nothing left to learn, or no loss")
        self._equal = self._equal + 1 if loss == self._last else 1
        self._last = loss
        if self._equal == EQUAL:
            self._once("equal", f"the loss has been exactly {loss:.6g} for {EQUAL} steps: nothing is learnt")
        self._count += 1
        self._mean = SMOOTHED * self._mean + (1 - SMOOTHED) * loss
        mean = self._mean / (1 - SMOOTHED**self._count)
        if self._count >= UNCHANGED:
            if mean > 2 * self._lowest and mean > self._lowest + 0.5:
                self._once(
                    "rising",
                    f"the loss rises: about {mean:.3g} at step {step}, and it was {self._lowest:.3g}; "
                    "if it goes on, set train.learning_rate lower or train.warmup_steps higher",
                )
            self._lowest = min(self._lowest, mean)

    def _once(self, kind: str, text: str) -> None:
        if kind not in self._said:
            self._said.add(kind)
            self._note(text)

    def leave_out(self, step: int, what: str, problems: Sequence[Problem]) -> None:
        """Note that a step is left out. Raises WorkFailed where too many were, one after the other."""
        self._left_out += 1
        if self._left_out >= IN_A_ROW:
            raise diverged(f"{IN_A_ROW} steps in a row had to be left out, the last one ({what})", step, problems)
        places = "; ".join(str(problem) for problem in problems[:5])
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        self._note(f"step {step} is left out: {what}" + (f" ({places}{more})" if places else ""))

    def sound(self) -> None:
        """A step was not left out."""
        self._left_out = 0

    # ----------------------------------------------------------------------------------------- what is trained
    def begin(self, model: nn.Module) -> None:
        """Before the weights move for the first time.

        Raises WorkFailed where no gradient has reached any of them."""
        weights = dict(_trained(model))
        missing = [name for name, weight in weights.items() if weight.grad is None]
        if len(missing) == len(weights):
            raise _no_gradient()
        if missing:
            shown = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
            self._note(f"no gradient reaches {len(missing)} of {len(weights)} trained tensors: {shown}")
        self._start = fingerprint(model)

    def check_moved(self, model: nn.Module, step: int) -> None:
        """Raises WorkFailed where `step` steps have changed no weight; it is asked once, after the warm-up."""
        if self._start is not None and fingerprint(model) == self._start:
            raise WorkFailed(
                f"no trained weight has changed in {step} steps",
                hint="the updates are too small for the weights' number format (model.dtype: float32 holds smaller "
                "ones), or train.learning_rate is too low",
            )
        self._start = None


def fingerprint(model: nn.Module) -> list[int]:
    """Two numbers for each trained tensor, of which one changes with any bit of it, all fetched at once. The first
    is an exclusive or, which does not see what changes alike in pairs; the second is a sum."""
    weights = [_here(weight) for _, weight in _trained(model)]
    hashes = [torch.hash_tensor(weight).view(torch.int64) for weight in weights]
    sums = [weight.float().square().sum().view(torch.int32).long() for weight in weights]
    return [int(each) for each in torch.stack([*hashes, *sums]).tolist()]


def check_weights(model: nn.Module, step: int) -> None:
    """Raises WorkFailed where a trained weight is no number: such weights are never saved."""
    named = list(_trained(model))
    if not named:
        return
    finite = torch.stack([torch.isfinite(_here(weight)).all() for _, weight in named]).tolist()
    bad = [name for (name, _), good in zip(named, finite, strict=True) if not good]
    if bad:
        raise diverged(
            "weights are no numbers any more", step, [Problem(name, "holds NaN or infinity") for name in bad]
        )


def diverged(what: str, step: int, problems: Sequence[Problem] = ()) -> WorkFailed:
    """The error of a run that came to no numbers; `problems` are the rows, or the weights, at fault."""
    return WorkFailed(
        f"training diverged: {what} at step {step}",
        problems=problems,
        hint="set train.learning_rate lower, or train.warmup_steps higher\n"
        "train.on_nonfinite: skip leaves out steps whose loss or gradient is no number, and says which",
    )


def described(loss: float, norm: float) -> str:
    """What of a step is no number."""
    return f"the loss is {loss}" if not math.isfinite(loss) else f"the gradient's norm is {norm}"


def _trained(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    return ((name, weight) for name, weight in model.named_parameters() if weight.requires_grad)


def _here(weight: torch.Tensor) -> torch.Tensor:
    """The values of a weight; of a sharded one, this process's part; where a device has no hashes, on the CPU."""
    values = weight.detach()
    values = values.to_local() if isinstance(values, DTensor) else values
    return values if values.device.type in ("cpu", "cuda") else values.cpu()


def _no_gradient() -> WorkFailed:
    return WorkFailed(
        "no gradient reaches the trained weights: they would never change",
        hint="lora.target_modules must name layers that the loss depends on",
    )
