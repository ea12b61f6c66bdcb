/**
 * Rotates the hidden states of a model by a random Hadamard matrix, so that no input has outliers any more.
 *
 *   Ashkboos et al. 2024 (QuaRot), arXiv:2404.00456, section 4.1; only what is done to weights, nothing while the model runs
 *
 *   norms       their weights go into the columns of the linear layers behind them, and become ones
 *   Q           D H / sqrt(hidden), D random signs: orthogonal, so that a norm of ones gives norm(h Q) = norm(h) Q
 *   E           <- E Q, for the embedding; W <- W Q for q, k, v, gate, up and the head
 *   W           <- Q^T W, bias <- Q^T b, for o and down
 *   heads       v <- Q_h^T v, o <- o Q_h, the same rotation of `headSize` for all heads, so that query heads may share one
 *
 * The head is another tensor than the embedding then, as the weight of the last norm is in it.
 */
import { blockName, embeddingName, finalNormName, headName } from '../models/llama/names.ts'
import type { OpenCompressible, OpenLanguageModel } from '../models/open_model.ts'
import type { TensorEdit, TensorEdits } from '../models/tensor_edits.ts'
import { hadamardFactors } from '../nn/hadamard.ts'
import type { Rotation } from '../nn/rotation.ts'
import { OptionError, printable } from '../tensor/errors.ts'
import { scope } from '../tensor/index.ts'

export interface HadamardRotationOptions {
  /**
   * Also rotates what each head takes from its values. Inputs of the o layer have fewer outliers then, in models where
   * few channels of a head are large. @default false
   */
  rotateHeads?: boolean
  /** Of the signs. @default 0 */
  seed?: number
}

/**
 * The names of all tensors that the rotation changes.
 *
 * @throws OptionError for a model that it cannot rotate: a text encoder, or a width without a Hadamard matrix.
 */
export function rotatedNames(source: OpenCompressible, options: HadamardRotationOptions = {}): string[] {
  return [...editsWith(rotatable(source, options), options, () => new Float64Array(0)).keys()]
}

/**
 * The edits that rotate a model; its outputs stay what they are.
 *
 * @throws OptionError for a model that it cannot rotate.
 * @example editedModel(source, rotationEdits(source, { seed: 0 }))
 */
export function rotationEdits(source: OpenCompressible, options: HadamardRotationOptions = {}): TensorEdits {
  const { weights } = source
  return editsWith(rotatable(source, options), options, (name) =>
    scope(() => Float64Array.from(weights.load(name).toArray() as ArrayLike<number>)),
  )
}

/** @param normOf the weight of a norm */
function editsWith(
  { model, weights }: OpenLanguageModel,
  { rotateHeads = false, seed = 0 }: HadamardRotationOptions,
  normOf: (name: string) => Float64Array,
): Map<string, readonly TensorEdit[]> {
  const { config } = model
  const hidden: Rotation = { size: config.hidden, seed }
  const ofHead: Rotation = { size: config.headSize, seed }
  const edits = new Map<string, readonly TensorEdit[]>()
  const fold = (norm: string, names: readonly string[]) => {
    const by = normOf(norm)
    edits.set(norm, [{ kind: 'fill', value: 1 }])
    for (const name of names)
      edits.set(name, [
        { kind: 'scaleColumns', by },
        { kind: 'rotateColumns', rotation: hidden },
      ])
  }
  const add = (name: string, edit: TensorEdit) => {
    if (weights.infos.has(name)) edits.set(name, [...(edits.get(name) ?? []), edit])
  }
  edits.set(embeddingName, [{ kind: 'rotateColumns', rotation: hidden }])
  config.layers.forEach((_, block) => {
    const [q, k, v, o] = (['q', 'k', 'v', 'o'] as const).map((part) => `self_attn.${part}_proj` as const)
    fold(
      blockName(block, 'input_layernorm'),
      [q!, k!, v!].map((part) => blockName(block, part)),
    )
    fold(blockName(block, 'post_attention_layernorm'), [
      blockName(block, 'mlp.gate_proj'),
      blockName(block, 'mlp.up_proj'),
    ])
    for (const part of [o!, 'mlp.down_proj'] as const)
      for (const kind of ['weight', 'bias'] as const)
        add(blockName(block, part, kind), { kind: 'rotateRows', rotation: hidden })
    if (!rotateHeads) return
    for (const kind of ['weight', 'bias'] as const)
      add(blockName(block, v!, kind), { kind: 'rotateRows', rotation: ofHead })
    add(blockName(block, o!), { kind: 'rotateColumns', rotation: ofHead })
  })
  fold(finalNormName, [headName])
  return edits
}

/** @throws OptionError where no rotation leaves the outputs as they are. */
function rotatable(
  source: OpenCompressible,
  { rotateHeads = false }: HadamardRotationOptions,
): OpenLanguageModel {
  if (source.family !== 'llama')
    throw new OptionError(
      `${printable(source.name)}: hadamard rotates what passes from block to block, and the ${source.model.config.architecture} family scales it channel by channel in norms behind the blocks, which no rotation passes; leave the step out`,
      { code: 'PARE_E_TRANSFORM', facts: { method: 'hadamard', family: source.family } },
    )
  const { hidden, headSize } = source.model.config
  hadamardFactors(hidden)
  if (rotateHeads) hadamardFactors(headSize)
  return source
}
