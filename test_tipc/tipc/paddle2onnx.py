"""The chain of test_paddle2onnx.sh: Paddle Inference, conversion, ONNX Runtime, comparison."""

from __future__ import annotations

import shutil
from functools import partial

from tipc import judge
from tipc.plan import Plan, Step, result_flags


class OnnxPlan(Plan):
    """The steps of the ONNX chain."""

    def build(self) -> list[Step]:
        """Return all steps, in order."""
        config = self.config
        model = self.given_model("onnx_model_dir", config.value("onnx_model_dir"))
        texts = config.flag("infer_input")
        reference = self.paddle_answers(model, texts)
        file, results = self.run_dir / "convbert_onnx" / "model.onnx", self.run_dir / "onnx.json"
        converter, *flags = config.script("convert")
        if shutil.which(converter) is None:
            raise config.fail("convert", f"'{converter}' is not a program on the PATH")
        convert = [converter, *flags, *config.set("onnx_model_dir", model)]
        for slot in ("onnx_model_filename", "onnx_params_filename", "opset", "checker"):
            convert += config.flag(slot)
        convert += config.set("save_file", file)
        self.add("convert", convert, self.run_dir / "paddle2onnx.log", file)
        infer = self.command("inference", onnx_file=file)
        infer += [f"--model_dir={model}", *texts, *result_flags(results)]
        check = partial(judge.engine, results, {"device": "cpu"}, reference=reference)
        self.add("infer", infer, self.run_dir / "paddle2onnx_infer_cpu.log", results, check=check)
        return self.steps
