"""ONNX Runtime sessions on the requested device."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import BundleError, DeviceUnavailable, InvalidRequest, MissingExtra
from retrieval.no_telemetry import require_onnxruntime_without_telemetry

if TYPE_CHECKING:
    import onnxruntime

# HEURISTIC: an exhaustive search for convolutions takes seconds per new shape and gains nothing for transformers.
# kSameAsRequested: by default the memory arena doubles, so that one worker takes the whole GPU.
# use_tf32 off: parity is proven in float32, and TF32 keeps 10 bits of the fraction. An fp16 bundle is the faster choice.
CUDA_OPTIONS = {
    "cudnn_conv_algo_search": "HEURISTIC",
    "arena_extend_strategy": "kSameAsRequested",
    "use_tf32": "0",
}


def resolve_device(device: str) -> str:
    """`cpu` or `cuda` for a setting of `auto`, `cpu` or `cuda`; `auto` takes CUDA if onnxruntime was built with it.

    Raises:
        InvalidRequest: another name.
        DeviceUnavailable: `cuda` without the CUDA build of onnxruntime.
        MissingExtra: onnxruntime is not installed at all.
        TelemetryActive: onnxruntime was loaded with its telemetry on.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise InvalidRequest(f"device must be auto, cpu or cuda, not {device!r}")
    has_cuda = "CUDAExecutionProvider" in _onnxruntime().get_available_providers()
    if device == "cuda" and not has_cuda:
        raise DeviceUnavailable(
            "device=cuda was requested, but this onnxruntime has no CUDA provider; "
            "install the extra `gpu` instead of `cpu` (pip install 'cxr-retrieval[gpu]')"
        )
    return "cuda" if has_cuda and device != "cpu" else "cpu"


class OrtSession:
    """One ONNX graph, ready to run.

    `auto` falls back to the CPU if the CUDA provider cannot start (no driver, no GPU). `cuda` never does: the provider in
    use is compared with the requested one, since onnxruntime itself only warns.
    """

    def __init__(self, path: Path, *, device: str = "auto", threads: int = 0) -> None:
        """Open the graph at `path` with `threads` threads (0: one per core).

        Raises:
            DeviceUnavailable: CUDA was requested and is not in use.
            BundleError: onnxruntime cannot open the file.
        """
        ort = _onnxruntime()
        target = resolve_device(device)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        # Threads that spin after a run would take a core from the code that uses its result.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        options.log_severity_level = 3  # onnxruntime warns about every folded constant
        providers: list[Any] = ["CPUExecutionProvider"]
        if target == "cuda":
            if hasattr(ort, "preload_dlls"):
                ort.preload_dlls()  # finds the CUDA and cuDNN libraries that pip installed
            providers.insert(0, ("CUDAExecutionProvider", CUDA_OPTIONS))
        try:
            self._session: onnxruntime.InferenceSession = ort.InferenceSession(
                str(path), sess_options=options, providers=providers
            )
        except Exception as error:  # onnxruntime's exceptions share no public base class
            raise BundleError(f"onnxruntime cannot open {path}: {error}") from error
        self.device = "cuda" if "CUDAExecutionProvider" in self._session.get_providers() else "cpu"
        if device == "cuda" and self.device != "cuda":
            raise DeviceUnavailable(
                f"device=cuda was requested, but {path.name} runs on {self._session.get_providers()}; "
                "check the NVIDIA driver and that CUDA and cuDNN match this onnxruntime"
            )
        self.input_names = [node.name for node in self._session.get_inputs()]
        self.output_names = [node.name for node in self._session.get_outputs()]

    @property
    def providers(self) -> list[str]:
        """The execution providers in use, by priority. onnxruntime drops CUDA after a failed run."""
        names: list[str] = self._session.get_providers()
        return names

    def run(self, output: str, inputs: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
        """The output named `output` for `inputs`; it is often not the first output of a graph."""
        if self.device == "cuda":
            return self.run_bound(output, inputs)
        result: NDArray[np.float32] = self._session.run([output], inputs)[0]
        return result

    def run_bound(self, output: str, inputs: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
        """As `run`, with bound inputs and output: on a GPU each is copied once, and no other output is fetched."""
        binding = self._session.io_binding()
        for name, values in inputs.items():
            binding.bind_cpu_input(name, np.ascontiguousarray(values))
        binding.bind_output(output)
        self._session.run_with_iobinding(binding)
        result: NDArray[np.float32] = binding.copy_outputs_to_cpu()[0]
        return result


def _onnxruntime() -> Any:
    require_onnxruntime_without_telemetry()
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtra(
            "onnxruntime is not installed; install the extra `cpu` or `gpu` (pip install 'cxr-retrieval[cpu]')"
        ) from error
    return onnxruntime
