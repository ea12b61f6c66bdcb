#!/usr/bin/env node
// What Pare makes of folders that it opens: write_expected.js FOLDER... Pare must be built.
//
// Beside FOLDER stands FOLDER.weights.safetensors then, the weights that Pare reads, as F32, and in it expected.json with
// Pare's logits for 24 tokens.
import { writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { createSafetensors } from '../../dist/formats/safetensors/writer.js'
import { openLanguageModel } from '../../dist/models/load_model.js'
import { scope } from '../../dist/tensor/index.js'

for (const folder of process.argv.slice(2).map((path) => resolve(path))) {
  const open = openLanguageModel(folder)
  const { infos } = open.weights
  const tensors = [...infos.values()].map(({ name, shape }) => ({ name, shape, type: 'F32' }))
  const writer = createSafetensors(`${folder}.weights.safetensors`, tensors)
  for (const name of infos.keys())
    scope(() => writer.append(name, open.weights.load(name).cast('f32').bytes()))
  writer.finish()
  const vocabulary = infos.get('model.embed_tokens.weight').shape[0]
  const tokens = Array.from({ length: 24 }, (_, i) => (17 * i * i + 5 * i + 3) % vocabulary)
  const logits = scope(() => Buffer.from(open.model.load().forward(Uint32Array.from(tokens)).bytes()))
  const expected = { tokens, vocabulary, logits: logits.toString('base64') }
  writeFileSync(join(folder, 'expected.json'), JSON.stringify(expected))
  open.close()
}
