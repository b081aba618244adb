"""NVIDIA's TensorRT and TensorRT-RTX: an engine is built on the device, once, and kept there."""

from edgetransfer.agent.runtimes.tensorrt.build import PROVIDERS as PROVIDERS
from edgetransfer.agent.runtimes.tensorrt.session import open_session as open_session
