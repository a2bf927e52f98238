"""The state of a training between two steps, complete: whoever goes on from it ends where it would have ended."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class TrainingState:
    """All that the next step depends on, as tensors on the CPU and plain JSON values; safe to store."""

    tensors: dict[str, Tensor]
    facts: dict[str, Any]

    def part(self, name: str) -> dict[str, Tensor]:
        """Give the tensors whose names begin with `name` and a slash, without that."""
        return {
            key.removeprefix(f"{name}/"): value for key, value in self.tensors.items() if key.startswith(f"{name}/")
        }


class Checkpoints(Protocol):
    """Where a training finds the state of one that was cut short, and leaves its own from time to time."""

    @property
    def found(self) -> TrainingState | None:
        """The state to go on from; None: begin."""
        ...

    def keep(self, snapshot: Callable[[], TrainingState]) -> None:
        """Take the state if it is time to: called often, so the snapshot is made only when it is asked for."""
        ...


class Resumable:
    """The parts of a running training that change from step to step: networks, optimizer, random numbers."""

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        optimizer: torch.optim.Optimizer,
        draws: torch.Generator,
        device: torch.device,
    ) -> None:
        self._networks = networks
        self._optimizer = optimizer
        self._draws = draws
        self._device = device

    def snapshot(self, facts: Mapping[str, Any], kept: Mapping[str, Tensor] | None = None) -> TrainingState:
        """Give a copy of the present state, with what the caller wants to find again beside it."""
        tensors: dict[str, Tensor] = {}
        for name, network in self._networks.items():
            tensors |= {f"{name}/{key}": value for key, value in network.state_dict().items()}
        for index, parameter in enumerate(self._parameters()):
            moments = self._optimizer.state[parameter]
            tensors |= {f"optimizer/{index}/{key}": value for key, value in moments.items() if torch.is_tensor(value)}
        tensors |= {f"kept/{key}": value for key, value in (kept or {}).items()}
        tensors |= {"random/draws": self._draws.get_state(), "random/host": torch.default_generator.get_state()}
        if self._device.type == "cuda":
            tensors["random/device"] = torch.cuda.get_rng_state(self._device)
        copies = {name: value.detach().to("cpu", copy=True).contiguous() for name, value in tensors.items()}
        return TrainingState(copies, json.loads(json.dumps(dict(facts))))

    def restore(self, state: TrainingState) -> None:
        """Put everything back as it was; networks and optimizer must be of the same build."""
        for name, network in self._networks.items():
            network.load_state_dict(state.part(name))
        moments = state.part("optimizer")
        for index, parameter in enumerate(self._parameters()):
            for key in [key for key in moments if key.startswith(f"{index}/")]:
                # Moments must lie in memory as their parameter does: fused optimizers walk both alike.
                like = parameter if moments[key].shape == parameter.shape else torch.empty_like(moments[key])
                value = torch.empty_like(like, dtype=moments[key].dtype, device=parameter.device)
                self._optimizer.state[parameter][key.split("/", 1)[1]] = value.detach().copy_(moments[key])
        self._draws.set_state(state.tensors["random/draws"])
        torch.default_generator.set_state(state.tensors["random/host"])
        if self._device.type == "cuda":
            torch.cuda.set_rng_state(state.tensors["random/device"], self._device)

    def _parameters(self) -> list[Tensor]:
        return [parameter for group in self._optimizer.param_groups for parameter in group["params"]]
