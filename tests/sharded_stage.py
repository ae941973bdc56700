"""One of two processes that share a stage by FSDP2 on gloo, as accelerate would on GPUs; see test_processes.py."""

from types import SimpleNamespace

import torch
import torch.distributed as dist
from accelerate import DistributedType
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from accompgen_hf import AccompGenCoarseConfig
from accompgen_hf.accompgen.codebooks_accompgen import build_stage_inputs
from accompgen_hf.training.stages.processes import prepare_sharded
from tiny import random_clip, tiny_stage


def main() -> None:
    dist.init_process_group("gloo")
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    whole, sharded = tiny_stage(AccompGenCoarseConfig), tiny_stage(AccompGenCoarseConfig)
    for layer in sharded.model.layers:  # `_no_split_modules`
        fully_shard(layer, mesh=mesh)
    fully_shard(sharded, mesh=mesh)
    sharding = SimpleNamespace(distributed_type=DistributedType.FSDP)
    prepare_sharded(sharded, sharding, SimpleNamespace(ema_decay=None))
    assert all(isinstance(parameter, DTensor) for parameter in sharded.parameters())

    inputs = build_stage_inputs(whole.config, *random_clip(whole.config))
    with torch.no_grad():
        expected, found = whole.target_losses(**inputs)[0], sharded.target_losses(**inputs)[0]
    torch.testing.assert_close(found, expected)
    losses = [model(**inputs).loss for model in (whole, sharded)]
    torch.testing.assert_close(losses[1], losses[0])
    for loss in losses:
        loss.backward()
    for ours, theirs in zip(sharded.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(ours.grad.full_tensor(), theirs.grad, atol=1e-5, rtol=1e-4)
    state = get_model_state_dict(sharded, options=StateDictOptions(full_state_dict=True))
    if dist.get_rank() == 0:
        assert all(torch.equal(state[name], weight) for name, weight in whole.state_dict().items())
    print("sharded equals whole", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
