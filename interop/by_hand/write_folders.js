#!/usr/bin/env node
// Folders that Pare writes: write_folders.js OUT. Pare must be built.
//
// OUT/dense is a random model of 2 blocks. Its matrices are rounded to the nearest level and written by each planner, to
// a folder for each variant of a format that has one.
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createSafetensors } from '../../dist/formats/safetensors/writer.js'
import { configFromHuggingFace } from '../../dist/models/llama/config.js'
import { weightShapes } from '../../dist/models/llama/weight_shapes.js'
import { openLanguageModel } from '../../dist/models/load_model.js'
import { planAwq } from '../../dist/models/write/awq_target.js'
import { planCompressedTensors } from '../../dist/models/write/compressed_tensors_target.js'
import { planGptq } from '../../dist/models/write/gptq_target.js'
import { planMlx } from '../../dist/models/write/mlx_target.js'
import { folderSource } from '../../dist/models/write/target.js'
import { columnSweep } from '../../dist/nn/column_sweep.js'
import { affineGrid, gridSource } from '../../dist/nn/grid.js'
import { randomStream, scope } from '../../dist/tensor/index.js'

const [out] = process.argv.slice(2)
if (!out) throw new Error('usage: write_folders.js OUT')
const config = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  hidden_size: 128,
  intermediate_size: 256,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  vocab_size: 64,
  hidden_act: 'silu',
  max_position_embeddings: 128,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  tie_word_embeddings: false,
  torch_dtype: 'float16',
}

/** Norms near 1, matrices normal. */
function writeDense(folder) {
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'config.json'), `${JSON.stringify(config, null, 2)}\n`)
  const shapes = [...weightShapes(configFromHuggingFace(config))]
  const file = join(folder, 'model.safetensors')
  const writer = createSafetensors(
    file,
    shapes.map(([name, shape]) => ({ name, shape, type: 'F16' })),
  )
  for (const [name, shape] of shapes)
    scope(() => {
      const noise = randomStream(17, name).normal(shape)
      const values = shape.length === 1 ? noise.mul(0.1).add(1) : noise.mul(shape[1] ** -0.5)
      writer.append(name, values.cast('f16').bytes())
    })
  writer.finish()
  return folder
}

/** Columns in an order that is not theirs, so that groups are no neighbours. */
const shuffled = (columns) => randomStream(18, 'order').permutation(columns).toArray()

/** Rounds every matrix and writes it and the rest. */
function writeAll(open, plan, folder, isSorted) {
  mkdirSync(folder)
  const writer = plan.create(folder)
  for (const tensor of plan.tensors)
    scope(() => {
      const dense = open.weights.load(tensor.name)
      const order = isSorted && tensor.grid ? shuffled(dense.extent(1)) : undefined
      const encoded = tensor.grid
        ? plan.encodeSource(tensor, gridSource(columnSweep(dense, { grid: tensor.grid, order }).values))
        : plan.encodeNumbers(tensor, dense)
      for (const { name, bytes } of encoded) writer.append(name, bytes)
    })
  writer.finish()
}

const [grid, middle] = [affineGrid({ groupSize: 64 }), affineGrid({ groupSize: 64, symmetric: true })]
const bits = (n, rest = {}) => affineGrid({ bits: n, groupSize: 64, ...rest })
const kept = new Map([
  ['model.layers.0.self_attn.v_proj.weight', { keep: true, by: 'this script' }],
  ['model.layers.0.mlp.down_proj.weight', { grid: bits(8, { symmetric: true }), by: 'this script' }],
])
const left = new Map([['model.layers.0.self_attn.v_proj.weight', { keep: true, by: 'this script' }]])
const gptq = (options, isSorted = false) => [(s) => planGptq(s, { actOrder: isSorted, ...options }), isSorted]
const folders = {
  'gptq-4': gptq({ grid: bits(4, { zeroLow: 1 }) }),
  'gptq-4-middle': gptq({ grid: middle }),
  'gptq-4-v2': gptq({ grid, checkpointFormat: 'gptq_v2' }),
  'gptq-4-sorted': gptq({ grid: bits(4, { zeroLow: 1 }) }, true),
  'gptq-2': gptq({ grid: bits(2, { symmetric: true }) }),
  'gptq-3': gptq({ grid: bits(3, { symmetric: true }) }),
  'gptq-8': gptq({ grid: bits(8, { symmetric: true }) }),
  'gptq-left': gptq({ grid: middle, choices: left }),
  awq: [(s) => planAwq(s, { grid })],
  'awq-left': [(s) => planAwq(s, { grid, choices: left })],
  'awq-row': [(s) => planAwq(s, { grid: affineGrid({ groupSize: 'row' }) })],
  ...Object.fromEntries(
    [2, 3, 4, 8].flatMap((n) => [
      [`ct-${n}`, [(s) => planCompressedTensors(s, { grid: bits(n) })]],
      [`ct-${n}-middle`, [(s) => planCompressedTensors(s, { grid: bits(n, { symmetric: true }) })]],
    ]),
  ),
  'ct-row': [(s) => planCompressedTensors(s, { grid: affineGrid({ groupSize: 'row', symmetric: true }) })],
  'ct-mixed': [(s) => planCompressedTensors(s, { grid: middle, choices: kept })],
  'mlx-4': [(s) => planMlx(s, { grid })],
  'mlx-3': [(s) => planMlx(s, { grid: bits(3) })],
  'mlx-mixed': [(s) => planMlx(s, { grid: middle, choices: kept })],
}

const open = openLanguageModel(writeDense(join(out, 'dense')))
for (const [name, [plan, isSorted = false]] of Object.entries(folders))
  writeAll(open, plan(folderSource(open)), join(out, name), isSorted)
open.close()
