"""What a program shares with the libraries that it calls, as values that can be compared."""

from __future__ import annotations

import gc
import locale
import logging
import os
import random
import resource
import signal
import sys
import threading
import time
import warnings
from typing import Any


def process_state() -> dict[str, Any]:
    """The process, Python, NumPy and, where it is loaded, torch, as they are set at present."""
    umask = os.umask(0)
    os.umask(umask)
    state = {
        "working directory": os.getcwd(),
        "environment": dict(os.environ),
        "umask": umask,
        "limits": {
            name: resource.getrlimit(getattr(resource, name))
            for name in ("RLIMIT_NOFILE", "RLIMIT_AS", "RLIMIT_STACK", "RLIMIT_DATA")
        },
        "locale": locale.setlocale(locale.LC_ALL),
        "time zone": time.tzname,
        "signals": {
            number: signal.getsignal(number) for number in signal.valid_signals() if number != 9
        },
        "signal mask": signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        "warnings": list(warnings.filters),
        "logging": [
            (x.name, x.level, list(x.handlers), x.propagate, x.disabled)
            for x in (logging.getLogger(), logging.getLogger("gymnasium"))
        ],
        "path": list(sys.path),
        "hooks": (sys.excepthook, sys.displayhook, threading.excepthook, sys.unraisablehook),
        "garbage collection": (gc.isenabled(), gc.get_threshold()),
        "recursion": sys.getrecursionlimit(),
        "switch interval": sys.getswitchinterval(),
        "threads": [thread.name for thread in threading.enumerate()],
        "standard streams": (sys.stdin, sys.stdout, sys.stderr),
        "chance of Python": random.getstate(),
    }
    if "multiprocessing" in sys.modules:
        state["start method"] = sys.modules["multiprocessing"].get_start_method(allow_none=True)
    if numpy := sys.modules.get("numpy"):
        state["errors of NumPy"] = numpy.geterr()
        state["chance of NumPy"] = [x for x in map(str, numpy.random.get_state())]
        state["how NumPy prints"] = str(numpy.get_printoptions())
    return state | (_torch_state(sys.modules["torch"]) if "torch" in sys.modules else {})


def _torch_state(torch: Any) -> dict[str, Any]:
    backends, tiny = torch.backends, torch.tensor(1e-39, dtype=torch.float32, device="cpu")
    return {
        "dtype of torch": torch.get_default_dtype(),
        "device of torch": str(torch.get_default_device()),
        "chance of torch": torch.get_rng_state().tolist(),
        "threads of torch": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "gradients": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "autocast": [
            (torch.is_autocast_enabled(x), torch.get_autocast_dtype(x)) for x in ("cpu", "cuda")
        ],
        "determinism": (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        ),
        "precision": (
            torch.get_float32_matmul_precision(),
            backends.fp32_precision,
            *(x.fp32_precision for x in (backends.mkldnn.matmul, backends.mkldnn.conv)),
            backends.cuda.matmul.fp32_precision,
        ),
        "oneDNN": (backends.mkldnn.enabled, backends.mkldnn.deterministic),
        "denormal numbers": bool(tiny * 0.5 > 0),
        "anomalies": torch.is_anomaly_enabled(),
    }
