#!/usr/bin/env node
// transformers.js on exported folders, against Pare on the same folders: transformers_js_check.js ASSETS WORK
// WORK/smollm2-q4, -f16 and -f16-arithmetic are the folders that exports_check.js leaves there.
import { join } from 'node:path'
import { AutoModelForCausalLM, AutoTokenizer, env, pipeline } from '@huggingface/transformers'
import { embedTexts } from '../../dist/index.js'
import { openModel } from '../../dist/models/load_model.js'
import { onnxSource } from '../../dist/models/onnx/onnx_source.js'
import { scope } from '../../dist/tensor/index.js'
import { check, finish, kinds, writeExport } from './write_export.js'

const [assets, work] = process.argv.slice(2)
env.allowRemoteModels = false
env.localModelPath = work

const texts = ['A cat sits on the mat.', 'The stock market fell on Tuesday, and bonds with it.']
for (const [kind, dtype] of [
  ['f32', 'fp32'],
  ['f16', 'fp16'],
  ['q8', 'q8'],
]) {
  const folder = join(work, `minilm-${dtype}`)
  const open = openModel(join(assets, 'models/minilm'))
  writeExport({ source: onnxSource(open), weights: open.weights }, folder, {
    ...kinds[kind],
    layout: 'transformers.js',
  })
  open.close()
  const own = openModel(folder)
  const vectors = embedTexts(own, texts)
  own.close()
  // The type is read from config.json.
  const embed = await pipeline('feature-extraction', `minilm-${dtype}`)
  const { data } = await embed(texts, { pooling: 'mean', normalize: true })
  const cosines = vectors.map((vector, row) =>
    vector.reduce((sum, x, i) => sum + x * data[row * vector.length + i], 0),
  )
  const least = Math.min(...cosines)
  check(
    `transformers.js embeds as Pare, MiniLM ${dtype}`,
    least > 1 - 1e-5,
    `least cosine ${least.toFixed(7)}`,
  )
}

const prompt = 'Once upon a time'
const steps = 20
for (const [kind, cache] of [
  ['q4', 'float32'],
  ['f16', 'float32'],
  ['f16-arithmetic', 'float16'],
]) {
  const name = `smollm2-${kind}`
  const tokenizer = await AutoTokenizer.from_pretrained(name)
  const model = await AutoModelForCausalLM.from_pretrained(name)
  const types = model.sessions.model.inputMetadata
    .filter((input) => input.name.startsWith('past_key_values'))
    .map(({ type }) => type)
  check(
    `transformers.js begins with a cache of ${cache}, SmolLM2 ${kind}`,
    types.every((type) => type === cache),
  )
  const output = await model.generate({ ...tokenizer(prompt), max_new_tokens: steps, do_sample: false })
  const found = Array.from(output.data, Number)
  await model.dispose()
  const expected = scope(() => {
    const own = openModel(join(work, name))
    const resident = own.model.load()
    const ids = [...own.tokenizer().encode(prompt)]
    for (let step = 0; step < steps; step++) {
      const last = scope(() => resident.forward(Uint32Array.from(ids)).slice(0, -1).argmax(-1).toArray())
      ids.push(last[0])
    }
    own.close()
    return ids
  })
  check(
    `transformers.js generates as Pare, SmolLM2 ${kind}`,
    `${found}` === `${expected}`,
    tokenizer.decode(found),
  )
}
finish()
