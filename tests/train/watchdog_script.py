"""A rank that meets the others, says so, and then does what its word asks for; run as
``watchdog_script.py RANK NUM_RANKS PORT DEED [p]`` (p: nobody can say how long what it does may take)."""

import sys
import time
from datetime import timedelta

import torch.distributed as dist

from whisper_aut.errors import Interrupted, ManifestError, WhisperAutError
from whisper_aut.train.watchdog import Watchdog

rank, world, port, deed = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
store = dist.TCPStore("127.0.0.1", port, world, rank == 0, timeout=timedelta(seconds=60))
try:
    with Watchdog(store, rank=rank, world_size=world, stall_sec=1.5, advice="begin again") as dog:
        dog.at("loading", patient=True)
        store.set(f"here/{rank}", "yes")
        store.wait([f"here/{other}" for other in range(world)])
        if deed == "wait":
            dog.at("waiting for other ranks in step 3", patient=len(sys.argv) > 5, waits_for_ranks=True)
        time.sleep(1)
        print("ready", flush=True)
        if deed == "wait":
            time.sleep(60)
        elif deed == "hang":
            dog.at(lambda: "waiting for the data of step 3: clips a, b")
            time.sleep(60)
        elif deed == "be patient":
            dog.at("saving a checkpoint", patient=True)
            time.sleep(4)
        elif deed == "fail":
            raise ManifestError("clip x is broken", remedy="mend x")
        elif deed == "crash":
            raise KeyError("bug")
        elif deed == "stop":
            raise Interrupted("stopped")
except WhisperAutError as error:
    sys.exit(error.exit_code)
