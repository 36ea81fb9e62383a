"""Validation loss by domain: negative log-likelihood per token over clips that no step reads."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import torch
import torch.distributed as dist

from whisper_aut.constants import IGNORE_LABEL, Domain
from whisper_aut.data.captions import TextEncoder
from whisper_aut.data.features import LogMel
from whisper_aut.data.loader import validation_batches
from whisper_aut.data.pool import Pool
from whisper_aut.data.quarantine import QuarantineEntry
from whisper_aut.train.engine import Engine
from whisper_aut.train.watchdog import Watchdog


def validation_loss(
    engine: Engine,
    log_mel: LogMel,
    pools: Mapping[Domain, Pool],
    text_encoder: TextEncoder,
    micro_batch_clips: int,
    device: torch.device,
    watchdog: Watchdog,
) -> dict[str, float]:
    """Mean loss per token of each domain's validation pool, at trimmed context.

    Every rank computes the same batches: under ZeRO-3 a forward is a collective, and ranks with unequal numbers of
    batches would wait for each other for ever. Pools are small.
    """
    losses: dict[str, float] = {}
    engine.module.eval()
    with torch.no_grad():
        for domain, pool in pools.items():
            total = torch.zeros(2, dtype=torch.float64)
            lost: list[QuarantineEntry] = []
            for batch in validation_batches(pool, domain, text_encoder, micro_batch_clips):
                watchdog.at(f"validating on {domain}")
                lost += batch.quarantined
                moved = batch.to(device)
                loss = engine(log_mel(moved.waveforms), moved.decoder_input_ids, moved.labels)
                total += torch.tensor([float(loss), float((moved.labels != IGNORE_LABEL).sum())], dtype=torch.float64)
            if lost and dist.get_rank() == 0:
                print(
                    f"warning: validation leaves out {len(lost)} of {len(pool)} clips of {domain}, unreadable; "
                    f"the first is {lost[0].id} ({lost[0].where}): {lost[0].reason}",
                    file=sys.stderr,
                )
            if total[1]:
                losses[domain] = float(total[0] / total[1])
    engine.module.train()
    watchdog.at("waiting for other ranks after validation", waits_for_ranks=True)
    dist.barrier()
    return losses
