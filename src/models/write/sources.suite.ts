/** Models to write: a random one with rows of 256, as a Hugging Face folder with the tokenizer of the fixtures. */
import { mkdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'
import { createSafetensors } from '../../formats/safetensors/writer.ts'
import { columnSweep } from '../../nn/column_sweep.ts'
import { decodeValues, type Grid, gridSource, type Values } from '../../nn/grid.ts'
import { dampedHessian, sweepFactor, syntheticLayer } from '../../nn/synthetic_layer.suite.ts'
import { randomStream, scope, type Tensor, tensor } from '../../tensor/index.ts'
import { numbers, openFixture } from '../llama/fixtures.suite.ts'
import { blockMatrices, blockName } from '../llama/names.ts'
import { openLanguageModel } from '../load_model.ts'
import type { OpenLanguageModel } from '../open_model.ts'
import type { EncodedTensor, TargetPlan } from './model_writer.ts'
import type { TensorPlan } from './tensor_plan.ts'

const [width, inner, vocabulary] = [256, 256, 32]
const rows: Record<(typeof blockMatrices)[number], number> = {
  'self_attn.q_proj': width,
  'self_attn.k_proj': width / 2,
  'self_attn.v_proj': width / 2,
  'self_attn.o_proj': width,
  'mlp.gate_proj': inner,
  'mlp.up_proj': inner,
  'mlp.down_proj': width,
}

/** Writes the folder; `type` is that of all weights. */
export function writeWideModel(
  folder: string,
  { tied = false, type = 'BF16' as 'BF16' | 'F16', deadInput = undefined as number | undefined } = {},
): string {
  /** Of the hidden state: 0 where it is always 0. */
  const alive = Float32Array.from({ length: width }, (_, i) => Number(i !== deadInput))
  mkdirSync(folder, { recursive: true })
  const config = {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    hidden_size: width,
    intermediate_size: inner,
    num_hidden_layers: 1,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    vocab_size: vocabulary,
    hidden_act: 'silu',
    max_position_embeddings: 128,
    rms_norm_eps: 1e-5,
    rope_theta: 10000,
    tie_word_embeddings: tied,
  }
  writeFileSync(join(folder, 'config.json'), JSON.stringify(config))
  const shapes: [string, number[]][] = [
    ['model.embed_tokens.weight', [vocabulary, width]],
    ['model.norm.weight', [width]],
    ['model.layers.0.input_layernorm.weight', [width]],
    ['model.layers.0.post_attention_layernorm.weight', [width]],
    ...blockMatrices.map((part): [string, number[]] => [
      blockName(0, part),
      [rows[part], part === 'mlp.down_proj' ? inner : width],
    ]),
    ...(tied ? [] : [['lm_head.weight', [vocabulary, width]] as [string, number[]]]),
  ]
  const writer = createSafetensors(
    join(folder, 'model.safetensors'),
    shapes.map(([name, shape]) => ({ name, shape, type })),
  )
  for (const [name, shape] of shapes) {
    scope(() => {
      const noise = randomStream(11, name).normal(shape)
      const numbers = shape.length === 1 ? noise.mul(0.1).add(1) : noise.mul(width ** -0.5)
      const values = name === 'model.embed_tokens.weight' ? numbers.mul(tensor(alive, [width])) : numbers
      writer.append(name, values.cast(type === 'F16' ? 'f16' : 'bf16').bytes())
    })
  }
  writer.finish()
  const fixture = openFixture('llama-f16.gguf')
  writeFileSync(join(folder, 'tokenizer.json'), fixture.tokenizer().json())
  writeFileSync(
    join(folder, 'tokenizer_config.json'),
    JSON.stringify({ eos_token: '<|im_end|>', bos_token: '<|im_start|>' }),
  )
  fixture.close()
  return folder
}

export interface Rounding {
  /** Without it each weight goes to its nearest level. @default true */
  feedback?: boolean
  /** Another order of columns than that of the file. @default false */
  sorted?: boolean
  staticGroups?: boolean
}

/** Factors by width and order; made once. */
const factors = new Map<string, Float32Array>()

function factorOf(columns: number, order: Uint32Array | undefined): Tensor {
  const key = `${columns} ${order?.join() ?? ''}`
  let factor = factors.get(key)
  if (!factor) {
    const { gram } = syntheticLayer({ rows: 1, columns, tokens: 2 * columns })
    factor = sweepFactor(dampedHessian(gram, 0.01), order).cast('f32').toArray() as Float32Array
    factors.set(key, factor)
  }
  return tensor(factor, [columns, columns])
}

/** Values on a grid, by a sweep over made-up inputs. */
function round(dense: Tensor, grid: Grid, rounding: Rounding): Values {
  const { feedback = true, sorted = false, staticGroups = false } = rounding
  if (!feedback) return columnSweep(dense, { grid }).values
  const columns = dense.extent(1)
  const order = sorted ? (randomStream(12, 'order').permutation(columns).toArray() as Uint32Array) : undefined
  return columnSweep(dense, { grid, factor: factorOf(columns, order), order, staticGroups }).values
}

/** Rounds every matrix of an open model and writes it and the rest; the decided values by name. */
export function writeAll(
  open: OpenLanguageModel,
  target: TargetPlan,
  rounding: Rounding,
  folder: string,
): Map<string, number[]> {
  const decided = new Map<string, number[]>()
  mkdirSync(folder, { recursive: true })
  const writer = target.create(folder)
  const encode = (plan: TensorPlan): EncodedTensor[] => {
    if (plan.kept) return target.encodeKept(plan, open.weights.raw!(plan.name))
    const dense = open.weights.load(plan.name)
    if (plan.role !== 'matrix' || !plan.grid) return target.encodeNumbers(plan, dense)
    const values = round(dense, plan.grid, rounding)
    decided.set(plan.name, numbers(decodeValues(values)))
    return target.encodeSource(plan, gridSource(values))
  }
  for (const plan of target.tensors) {
    const tensors = scope(() => encode(plan))
    expect(tensors.map(({ name, bytes }) => ({ name, bytes: bytes.length }))).toEqual(target.stored(plan))
    for (const { name, bytes } of tensors) writer.append(name, bytes)
  }
  writer.finish()
  return decided
}

/** Opens what was written: the folder, or the GGUF file in it. */
export function reopened<T>(path: string, body: (open: OpenLanguageModel) => T): T {
  const open = openLanguageModel(path)
  try {
    return scope(() => body(open))
  } finally {
    open.close()
  }
}

export const sizeOf = (path: string): number => statSync(path).size
/** Numbers after a passage through a narrower type. */
export const rounded = (x: Tensor, type: string): number[] =>
  numbers(type === 'F32' ? x : x.cast(type === 'F16' ? 'f16' : 'bf16'))

/** Numbers that differ in any bit, of all that are expected. */
export function differences(found: readonly number[], expected: readonly number[]): number {
  if (found.length !== expected.length) return Number.POSITIVE_INFINITY
  return expected.reduce((count, value, i) => count + Number(!Object.is(value, found[i])), 0)
}
