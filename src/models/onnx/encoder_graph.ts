/**
 * The BERT family as an ONNX graph, as Optimum exports its features:
 *
 *   input_ids, attention_mask, token_type_ids [batch, tokens] int64 -> last_hidden_state [batch, tokens, hidden] in f32
 *
 * Rows of a batch are filled with 0 in the mask; what is computed for the filling means nothing.
 */
import { int, type OnnxModel, value } from '../../formats/onnx/graph.ts'
import type { BertActivation, BertConfig } from '../bert/config.ts'
import { type BlockPart, blockName, embeddingNames } from '../bert/names.ts'
import { attention, splitHeads } from './attention_nodes.ts'
import { elementTypes, type GraphBuilder } from './graph_builder.ts'

/** @param prefix of the names of all weights, `bert.` or nothing */
export function encoderGraph(config: BertConfig, prefix: string, b: GraphBuilder): OnnxModel {
  const shape = b.add('input_shape', 'Shape', ['input_ids']) // [batch, tokens]
  const real = b.cast('mask/real', 'attention_mask', elementTypes.BOOL)
  const visible = b.add('visible', 'Unsqueeze', [real, b.wholes([1, 2])]) // [batch, 1, 1, tokens]
  let x = embed(config, prefix, b)
  for (const block of config.layers.keys()) x = encoderBlock(config, block, prefix, b, x, { shape, visible })
  const full = b.add('output/shape', 'Concat', [shape, b.wholes([config.hidden])], { axis: int(0) })
  b.add('last_hidden_state', 'Reshape', [x, full])
  const tokens = ['batch_size', 'sequence_length']
  const input = (name: string) => value(name, 'I64', tokens)
  return b.model(
    'encoder',
    [input('input_ids'), input('attention_mask'), input('token_type_ids')],
    [value('last_hidden_state', 'F32', [...tokens, config.hidden])],
  )
}

/** Words, kinds and positions, normalised: f32 [batch * tokens, hidden]. */
function embed({ hidden, normEpsilon }: BertConfig, prefix: string, b: GraphBuilder): string {
  const { word, position, type, norm } = embeddingNames
  const weight = (name: string, kind = 'weight') => `${prefix}${name}.${kind}`
  const rows = (name: string, table: string, ids: string) =>
    b.widen(`embedding/${name}/wide`, b.rows(`embedding/${name}`, weight(table), ids))
  const tokens = b.add('embedding/tokens', 'Shape', ['input_ids'], { start: int(1), end: int(2) })
  const [start, axis] = [b.wholes([0]), b.wholes([0])]
  const table = b.add('embedding/positions', 'Slice', [b.weight(weight(position)), start, tokens, axis])
  const places = b.widen('embedding/positions/wide', table) // [tokens, hidden]
  const words = b.add('embedding/words_and_types', 'Add', [
    rows('words', word, 'input_ids'),
    rows('types', type, 'token_type_ids'),
  ])
  const sum = b.add('embedding/sum', 'Add', [words, places])
  const flat = b.reshape('embedding/flat', sum, [-1, hidden])
  return b.layerNorm('embedding', flat, weight(norm), weight(norm, 'bias'), normEpsilon)
}

function encoderBlock(
  config: BertConfig,
  block: number,
  prefix: string,
  b: GraphBuilder,
  x: string,
  { shape, visible }: { shape: string; visible: string },
): string {
  const { headSize, normEpsilon, activation } = config
  const { heads } = config.layers[block]!
  const at = (name: string) => `layers.${block}/${name}`
  const weight = (part: BlockPart, kind?: 'bias') => prefix + blockName(block, part, kind)
  const linear = (name: string, part: BlockPart, input: string) =>
    b.linear(at(name), input, weight(part), weight(part, 'bias'))
  const normed = (name: string, part: BlockPart, sum: string) =>
    b.layerNorm(at(name), sum, weight(part), weight(part, 'bias'), normEpsilon)
  const add = (name: string, input: string, part: string) =>
    b.add(at(name), 'Add', [input, b.widen(at(`${name}/wide`), part)])
  const input = b.narrow(at('input'), x)
  const project = (name: string, part: BlockPart) =>
    splitHeads(b, at(`attn/${name}/heads`), linear(`attn/${name}`, part, input), shape, { heads, headSize })
  const parts = {
    queries: project('q', 'attention.self.query'),
    keys: project('k', 'attention.self.key'),
    values: project('v', 'attention.self.value'),
    visible,
  }
  const mixed = attention(b, at('attn'), parts, { heads, kvHeads: heads, headSize })
  const sum = add('attn/sum', x, linear('attn/o', 'attention.output.dense', mixed))
  const attended = normed('attn/norm', 'attention.output.LayerNorm', sum)
  const up = linear('mlp/up', 'intermediate.dense', b.narrow(at('mlp/input'), attended))
  const down = linear('mlp/down', 'output.dense', activate(b, at('mlp/act'), up, activation))
  return normed('output', 'output.LayerNorm', add('mlp/sum', attended, down))
}

/** x/2 (1 + erf(x / sqrt 2)), x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), or max(x, 0). */
function activate(b: GraphBuilder, name: string, x: string, activation: BertActivation): string {
  if (activation === 'relu') return b.add(name, 'Relu', [x])
  const times = (step: string, input: string, factor: number) =>
    b.add(`${name}/${step}`, 'Mul', [input, b.number(factor)])
  const bend = (): string => {
    if (activation === 'gelu') {
      const scaled = b.add(`${name}/scaled`, 'Div', [x, b.number(Math.SQRT2)])
      return b.add(`${name}/erf`, 'Erf', [scaled])
    }
    const cubes = b.add(`${name}/cubes`, 'Mul', [x, b.add(`${name}/squares`, 'Mul', [x, x])])
    const inner = b.add(`${name}/inner`, 'Add', [x, times('bent', cubes, 0.044715)])
    return b.add(`${name}/tanh`, 'Tanh', [times('scaled', inner, Math.sqrt(2 / Math.PI))])
  }
  const share = b.add(`${name}/share`, 'Add', [bend(), b.number(1)])
  return times('half', b.add(`${name}/product`, 'Mul', [x, share]), 0.5)
}
