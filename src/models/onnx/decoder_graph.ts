/**
 * The llama family as an ONNX graph, as transformers.js and Optimum want a decoder with its cache:
 *
 *   input_ids [batch, new], attention_mask [batch, past + new], position_ids [batch, new]            int64
 *   past_key_values.L.key, .value [batch, kvHeads, past, headSize]
 *   -> logits [batch, new, vocabulary] in f32, present.L.key, .value [batch, kvHeads, past + new, headSize]
 *
 * Past may be 0. Rows of a batch may be filled on either side, with 0 in the mask.
 */
import { int, type OnnxModel, type OnnxValue, value } from '../../formats/onnx/graph.ts'
import type { LlamaConfig } from '../llama/config.ts'
import { type BlockPart, blockName, embeddingName, finalNormName, headName } from '../llama/names.ts'
import { rotaryFrequencies } from '../llama/rotary_tables.ts'
import { attention, splitHeads } from './attention_nodes.ts'
import { elementTypes, type GraphBuilder } from './graph_builder.ts'

export function decoderGraph(config: LlamaConfig, b: GraphBuilder): OnnxModel {
  const { hidden, vocabulary, normEpsilon, tied } = config
  const shape = b.add('input_shape', 'Shape', ['input_ids']) // [batch, new]
  const side: SideInputs = { shape, visible: visibleKeys(config, b), rotary: rotaryAngles(config, b) }
  // A tied head needs the whole table in the type of the activations.
  const rows = tied
    ? b.add('embedding', 'Gather', [b.weight(embeddingName), 'input_ids'])
    : b.rows('embedding', embeddingName, 'input_ids')
  // Sums of blocks stay in f32: they grow past what f16 holds.
  let x = b.widen('embedding/wide', b.reshape('embedding/flat', rows, [-1, hidden])) // [batch * new, hidden]
  for (const block of config.layers.keys()) x = decoderBlock(config, block, b, x, side)
  const normed = b.rmsNorm('norm', x, finalNormName, normEpsilon)
  const flat = b.linear('head', normed, tied ? embeddingName : headName)
  const full = b.add('logits/shape', 'Concat', [shape, b.wholes([vocabulary])], { axis: int(0) })
  b.add('logits', 'Reshape', [b.widen('head/wide', flat), full])
  const cache = (kind: string, length: string): OnnxValue[] =>
    config.layers.flatMap(({ kvHeads }, block) =>
      ['key', 'value'].map((part) =>
        value(`${kind}.${block}.${part}`, b.activations, ['batch_size', kvHeads, length, config.headSize]),
      ),
    )
  return b.model(
    'decoder',
    [
      value('input_ids', 'I64', ['batch_size', 'sequence_length']),
      value('attention_mask', 'I64', ['batch_size', 'total_sequence_length']),
      value('position_ids', 'I64', ['batch_size', 'sequence_length']),
      ...cache('past_key_values', 'past_sequence_length'),
    ],
    [
      value('logits', 'F32', ['batch_size', 'sequence_length', vocabulary]),
      ...cache('present', 'total_sequence_length'),
    ],
  )
}

interface SideInputs {
  /** Of the ids. */
  shape: string
  /** bool [batch, 1, new, past + new] */
  visible: string
  /** [batch, 1, new, headSize / 2] */
  rotary: { cos: string; sin: string }
}

/** Keys at or before the query, within the window where there is one, that are no filling. */
function visibleKeys({ slidingWindow: window }: LlamaConfig, b: GraphBuilder): string {
  const lengthOf = (name: string, input: string) => {
    const axis = b.add(`${name}/axis`, 'Shape', [input], { start: int(1), end: int(2) })
    return b.add(name, 'Squeeze', [axis])
  }
  const [fresh, total] = [lengthOf('new', 'input_ids'), lengthOf('total', 'attention_mask')]
  const past = b.add('past', 'Sub', [total, fresh])
  const keys = b.add('keys', 'Range', [b.wholes(0), total, b.wholes(1)])
  const places = b.add('queries/places', 'Range', [past, total, b.wholes(1)])
  const queries = b.add('queries', 'Unsqueeze', [places, b.wholes([1])]) // [new, 1]
  let causal = b.add('causal', 'LessOrEqual', [keys, queries])
  if (window !== undefined) {
    const oldest = b.add('window/oldest', 'Sub', [queries, b.wholes(window)])
    causal = b.add('window', 'And', [causal, b.add('window/near', 'Greater', [keys, oldest])])
  }
  const real = b.cast('mask/real', 'attention_mask', elementTypes.BOOL)
  const wide = b.add('mask/wide', 'Unsqueeze', [real, b.wholes([1, 2])]) // [batch, 1, 1, past + new]
  return b.add('visible', 'And', [causal, wide])
}

/** Angles in f32, as far positions need them. */
function rotaryAngles(config: LlamaConfig, b: GraphBuilder): SideInputs['rotary'] {
  const places = b.cast('rotary/places', 'position_ids', elementTypes.F32)
  const wide = b.add('rotary/wide', 'Unsqueeze', [places, b.wholes([1, 3])]) // [batch, 1, new, 1]
  const angles = b.add('rotary/angles', 'Mul', [wide, b.floats('rotary', rotaryFrequencies(config))])
  const table = (name: string, opType: string) => {
    return b.narrow(`rotary/${name}/narrow`, b.add(`rotary/${name}`, opType, [angles]))
  }
  return { cos: table('cos', 'Cos'), sin: table('sin', 'Sin') }
}

function decoderBlock(
  config: LlamaConfig,
  block: number,
  b: GraphBuilder,
  x: string,
  { shape, visible, rotary }: SideInputs,
): string {
  const { headSize, normEpsilon } = config
  const { heads, kvHeads } = config.layers[block]!
  const at = (name: string) => `layers.${block}/${name}`
  const linear = (name: string, part: BlockPart, input: string) => {
    const bias = blockName(block, part, 'bias')
    return b.linear(at(name), input, blockName(block, part), b.has(bias) ? bias : undefined)
  }
  const normed = b.rmsNorm(at('attn/norm'), x, blockName(block, 'input_layernorm'), normEpsilon)
  const project = (name: string, part: BlockPart, count: number) =>
    splitHeads(b, at(`attn/${name}/heads`), linear(`attn/${name}`, part, normed), shape, {
      heads: count,
      headSize,
    })
  const remember = (kind: string, fresh: string) =>
    b.add(`present.${block}.${kind}`, 'Concat', [`past_key_values.${block}.${kind}`, fresh], { axis: int(2) })
  const queries = rotate(b, at('attn/q/rotary'), project('q', 'self_attn.q_proj', heads), rotary)
  const keys = rotate(b, at('attn/k/rotary'), project('k', 'self_attn.k_proj', kvHeads), rotary)
  const inputs = {
    queries,
    keys: remember('key', keys),
    values: remember('value', project('v', 'self_attn.v_proj', kvHeads)),
    visible,
  }
  const mixed = attention(b, at('attn'), inputs, { heads, kvHeads, headSize })
  const add = (name: string, input: string, part: string) =>
    b.add(at(name), 'Add', [input, b.widen(at(`${name}/wide`), part)])
  const residual = add('attn/residual', x, linear('attn/o', 'self_attn.o_proj', mixed))
  const second = b.rmsNorm(
    at('mlp/norm'),
    residual,
    blockName(block, 'post_attention_layernorm'),
    normEpsilon,
  )
  const gate = linear('mlp/gate', 'mlp.gate_proj', second)
  const open = b.add(at('mlp/act'), 'Mul', [gate, b.add(at('mlp/sigmoid'), 'Sigmoid', [gate])])
  const product = b.add(at('mlp/product'), 'Mul', [open, linear('mlp/up', 'mlp.up_proj', second)])
  return add('output', residual, linear('mlp/down', 'mlp.down_proj', product))
}

/** Both halves of each head, turned against each other: (x cos - y sin, y cos + x sin). */
function rotate(b: GraphBuilder, name: string, heads: string, { cos, sin }: SideInputs['rotary']): string {
  const [x, y] = b.addParts(`${name}/halves`, 'Split', [heads], 2) as [string, string]
  const times = (step: string, half: string, table: string) => b.add(`${name}/${step}`, 'Mul', [half, table])
  const first = b.add(`${name}/first`, 'Sub', [times('x_cos', x, cos), times('y_sin', y, sin)])
  const second = b.add(`${name}/second`, 'Add', [times('y_cos', y, cos), times('x_sin', x, sin)])
  return b.add(name, 'Concat', [first, second], { axis: int(-1) })
}
