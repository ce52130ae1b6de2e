"""The demo's own WebAssembly kernel beside what one would pick instead: ONNX Runtime Web, TensorFlow.js, plain JavaScript.

    pip install onnx playwright && python -m bench.demos [--json FILE]

A step is C, M, the sampling and V's decoder, of the pretrained agents in headless Chromium, on one core. The alternatives run
interleaved. Both libraries come from npm, which has to be on the PATH as Chromium has; they compute on WebAssembly, too.
"""

import argparse
import glob
import os
import shutil
import subprocess
import tempfile
import threading

import numpy as np

from world_models.bench.measure import RUNS, rates, ratio, report, table
from world_models.config import GAMES, UserError
from world_models.demo.__main__ import runs, server
from world_models.job.command import run_script
from world_models.job.machine import load_tensorflow
from world_models.job.outputs import check_output

LIBRARIES = {
    "onnxruntime-web@1.30.0": ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"),
    "@tensorflow/tfjs@4.22.0": ("tf.min.js",),
    "@tensorflow/tfjs-backend-wasm@4.22.0": ("tf-backend-wasm.min.js", "tfjs-backend-wasm-simd.wasm"),
}
ENGINES = {  # name: (that in demos.js, the files that it loads besides the weights)
    "own kernel": ("own", ("kernel.wasm", "models.js")),
    "ONNX Runtime Web": ("ort", LIBRARIES["onnxruntime-web@1.30.0"]),
    "TensorFlow.js, wasm": (
        "tfjs",
        (*LIBRARIES["@tensorflow/tfjs@4.22.0"], *LIBRARIES["@tensorflow/tfjs-backend-wasm@4.22.0"]),
    ),
    "plain JavaScript": ("plain", ("models.js",)),
}
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", metavar="FILE", help="also write the numbers here")
    args = parser.parse_args(argv)
    check_output("--json", args.json)
    if not CHROMIUM or not shutil.which("npm"):
        raise UserError("chromium and npm have to be on the PATH: install them first")
    load_tensorflow(1)
    from playwright.sync_api import sync_playwright

    from world_models.demo.export import export

    numbers = {}
    with tempfile.TemporaryDirectory() as folder:
        shown = {name: GAMES[name] for name in ("carracing", "doom")}
        export(folder, {key: where for key, where in runs().items() if key in shown})
        _libraries(folder)
        for name, game in shown.items():
            _onnx(folder, name, game)
        for path in ("demos.html", "demos.js"):
            shutil.copy(os.path.join(os.path.dirname(__file__), path), folder)
        size = {
            name: sum(os.path.getsize(os.path.join(folder, file)) for file in files) for name, (_, files) in ENGINES.items()
        }
        with server(folder, 0) as serving, sync_playwright() as driver:
            threading.Thread(target=serving.serve_forever, daemon=True).start()
            browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            for name in shown:
                pages, first = {}, {}
                for engine, (word, _) in ENGINES.items():
                    pages[engine] = browser.new_page()
                    pages[engine].goto(f"http://127.0.0.1:{serving.server_port}/demos.html")
                    first[engine] = pages[engine].evaluate("([word, name]) => begin(word, name)", [word, name])
                measured = rates({engine: _steps(page) for engine, page in pages.items()})
                print(table(f"{name}: dreams in the browser", measured, "steps/s", "TensorFlow.js, wasm"))
                for engine in ENGINES:
                    print(
                        f"  {engine:30} first frame after {first[engine] / 1000:.2f} s; {size[engine]:,} bytes besides weights"
                    )
                numbers |= {f"{name}_vs_tfjs": ratio(measured, "own kernel", "TensorFlow.js, wasm")}
                numbers |= {f"{name}_vs_ort": ratio(measured, "own kernel", "ONNX Runtime Web")}
                numbers |= {f"{name}_steps_per_s": float(np.median(measured["own kernel"]))}
                for page in pages.values():
                    page.close()
            browser.close()
            serving.shutdown()
    report(args.json, numbers, RUNS)


def _steps(page):
    """A function that dreams for a second, and returns (steps, seconds)."""
    return lambda: tuple(page.evaluate("() => run(1000)"))


def _libraries(folder):
    with tempfile.TemporaryDirectory() as packed:
        subprocess.run(["npm", "pack", "--silent", *LIBRARIES], cwd=packed, check=True, stdout=subprocess.DEVNULL)
        for archive in glob.glob(os.path.join(packed, "*.tgz")):
            shutil.unpack_archive(archive, archive[:-4])
        for file in sum(LIBRARIES.values(), ()):
            (path,) = glob.glob(os.path.join(packed, "*", "package", "dist", file))
            shutil.copy(path, folder)


def _onnx(folder, name, game):
    """Write NAME/decoder.onnx and NAME/memory.onnx."""
    import onnx
    from onnx import helper, numpy_helper

    from world_models.rnn.world_model import load_world_model

    _, run_dir = runs(name)[name]
    vae, rnn = load_world_model(run_dir, game)

    def save(path, nodes, arrays, inputs, outputs):
        def values(named):
            return [helper.make_tensor_value_info(key, onnx.TensorProto.FLOAT, shape) for key, shape in named.items()]

        weights = [numpy_helper.from_array(np.ascontiguousarray(array, np.float32), key) for key, array in arrays.items()]
        graph = helper.make_graph(nodes, name, values(inputs), values(outputs), weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        onnx.save(model, os.path.join(folder, name, path))

    dense, bias, *deconvolutions = [weight.numpy() for weight in vae.trainable_weights[12:]]
    nodes = [
        helper.make_node("Gemm", ["z", "dense", "dense bias"], ["flat"]),
        helper.make_node("Reshape", ["flat", "shape"], ["x0"]),
    ]
    arrays = {"dense": dense, "dense bias": bias}
    shape = onnx.numpy_helper.from_array(np.array([1, dense.shape[1], 1, 1], np.int64), "shape")
    for i in range(4):
        kernel, offset = deconvolutions[2 * i : 2 * i + 2]
        arrays |= {f"w{i}": kernel.transpose(3, 2, 0, 1), f"b{i}": offset}  # to (inputs, outputs, height, width)
        nodes.append(helper.make_node("ConvTranspose", [f"x{i}", f"w{i}", f"b{i}"], [f"y{i}"], strides=[2, 2]))
        nodes.append(helper.make_node("Relu" if i < 3 else "Sigmoid", [f"y{i}"], [f"x{i + 1}"]))
    nodes.insert(0, helper.make_node("Constant", [], ["shape"], value=shape))
    save("decoder.onnx", nodes, arrays, {"z": (1, vae.z_size)}, {"x4": (1, 3, 64, 64)})

    kernel, recurrent, bias = rnn.cell.get_weights()
    head, head_bias = (part.numpy() for part in rnn.planes())
    gates = [
        helper.make_node("Gemm", ["x", "gates", "gates bias"], ["all"]),
        helper.make_node("Split", ["all", "sizes"], ["i", "f", "g", "o"], axis=1),
        *[helper.make_node("Sigmoid", [part], [f"{part}1"]) for part in "ifo"],
        helper.make_node("Tanh", ["g"], ["g1"]),
        helper.make_node("Mul", ["f1", "c"], ["kept"]),
        helper.make_node("Mul", ["i1", "g1"], ["new"]),
        helper.make_node("Add", ["kept", "new"], ["c1"]),
        helper.make_node("Tanh", ["c1"], ["c2"]),
        helper.make_node("Mul", ["o1", "c2"], ["h1"]),
        helper.make_node("Gemm", ["h1", "head", "head bias"], ["told"]),
    ]
    sizes = onnx.numpy_helper.from_array(np.full(4, rnn.rnn_size, np.int64), "sizes")
    gates.insert(0, helper.make_node("Constant", [], ["sizes"], value=sizes))
    inputs = {"x": (1, len(kernel) + rnn.rnn_size), "c": (1, rnn.rnn_size)}
    outputs = {"h1": (1, rnn.rnn_size), "c1": (1, rnn.rnn_size), "told": (1, head.shape[1])}
    arrays = {"gates": np.concatenate([kernel, recurrent]), "gates bias": bias, "head": head, "head bias": head_bias}
    save("memory.onnx", gates, arrays, inputs, outputs)


if __name__ == "__main__":
    run_script(main)
