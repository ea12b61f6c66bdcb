/**
 * Opens one file in a fresh process and prints how long that took, imports apart. bench/formats.js calls it:
 *
 *   node bench/open_once.js model|torch|onnx|huggingface-gguf PATH
 */
const [kind, path] = process.argv.slice(2)
const openers = {
  model: async () => (await import('../dist/models/load_model.js')).openModel,
  torch: async () => (await import('../dist/formats/torch/torch.js')).openTorch,
  onnx: async () => (await import('../dist/formats/onnx/onnx.js')).openOnnx,
  'huggingface-gguf': async () => {
    const { gguf } = await import('@huggingface/gguf')
    return (file) => gguf(file, { allowLocalFile: true })
  },
}
const open = await openers[kind]()
const [started, before] = [performance.now(), process.cpuUsage()]
const opened = await open(path)
const [milliseconds, { user, system }] = [performance.now() - started, process.cpuUsage(before)]
const tensors = opened.weights?.infos.size ?? opened.tensors?.size ?? opened.tensorInfos.length
process.stdout.write(JSON.stringify({ milliseconds, processor: (user + system) / 1000, tensors }))
