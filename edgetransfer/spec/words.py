"""The closed sets of words that an option takes; free of imports, so that `--help` is quick."""

from typing import Literal

AUTO = "auto"
"""The backbone that means: choose one."""
FitMethod = Literal["auto", "probe", "finetune", "lora", "contrastive", "none"]
AdaptMethod = Literal["none", "auto", "reweight", "align", "norms"]
MetaMethod = Literal["protonet", "anil", "maml"]
TeacherFit = Literal["probe", "finetune"]
PrecisionChoice = Literal["auto", "fp32", "fp16", "w8a8"]
TimingEffort = Literal["standard", "quick", "thorough"]
Metric = Literal["top1", "macro-f1", "balanced-accuracy"]
