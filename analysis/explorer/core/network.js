'use strict';
/* global Data */
// The network itself, if the report contains it (see analysis/report/browser_model.py): ONNX
// Runtime Web computes with it in this page. Nothing is loaded before it is needed.

const Network = (() => {
  /** @type {Promise<{ run: (photo: Pixels) => Promise<Answer>, points: Decoded }> | null} */
  let loading = null;

  /** The network, ready to run; loaded once.
   * @param {(share: number, doing: string) => void} onProgress share of the loading, 0 to 1 */
  function load(onProgress) {
    loading ??= start(onProgress);
    loading.catch(() => (loading = null)); // so that one can try again
    return loading;
  }

  /** @param {(share: number, doing: string) => void} onProgress */
  async function start(onProgress) {
    onProgress(0, 'Reading ONNX Runtime');
    await Data.need('runtime', 'model', 'runtime.js');
    const { loader, wasm } = Data.take('runtime'); // as text it has tens of megabytes
    onProgress(0.2, 'Unpacking ONNX Runtime');
    const binary = await unpack(wasm);
    onProgress(0.4, 'Reading the network');
    await Data.need('network', 'model', 'network.js');
    const { network, points } = Data.take('network');
    onProgress(0.6, 'Unpacking the network');
    const graph = await unpack(network);
    onProgress(0.8, 'Starting the network');
    const { ort } = /** @type {any} */ (window); // defined by runtime.js
    // The loader is a module, which a page on disk may import from a Blob only. One thread: more
    // need a server that isolates the page.
    const url = URL.createObjectURL(new Blob([loader], { type: 'text/javascript' }));
    const wasmPaths = { mjs: url };
    Object.assign(ort.env.wasm, { numThreads: 1, wasmBinary: binary.buffer, wasmPaths });
    ort.env.logLevel = 'error';
    const session = await ort.InferenceSession.create(graph, { executionProviders: ['wasm'] })
      .finally(() => URL.revokeObjectURL(url));

    /** @param {Pixels} photo @returns {Promise<Answer>} */
    async function compute({ pixels, width, height }) {
      const began = performance.now();
      const image = new ort.Tensor('uint8', pixels, [1, height, width, 3]);
      const { classes, embedding } = await session.run({ image });
      const seconds = (performance.now() - began) / 1000;
      return { classes: classes.data, size: classes.dims[1], embedding: embedding.data, seconds };
    }
    /** @type {Promise<unknown>} */
    let before = Promise.resolve();
    // One photograph after the other: a session refuses a second one while it runs.
    const run = (/** @type {Pixels} */ photo) => {
      const answer = before.then(() => compute(photo));
      before = answer.catch(() => {});
      return answer;
    };
    // The first run compiles, so it is several times as slow as those after it.
    await run({ width: 64, height: 64, pixels: new Uint8Array(3 * 64 * 64) });
    return { run, points: Data.decode(points) };
  }

  /** Bytes that were compressed with gzip. @param {Encoded} encoded */
  async function unpack(encoded) {
    const packed = new Blob([/** @type {any} */ (Data.decode(encoded))]);
    const stream = packed.stream().pipeThrough(new DecompressionStream('gzip'));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  return { load };
})();
