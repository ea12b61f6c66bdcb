/** What a compression will store, known from headers alone. Works without the native core. */
import { basename } from 'node:path'
import { loadModel } from '../models/load_model.ts'
import type { OpenModel } from '../models/open_model.ts'
import type { ResolveOptions } from '../models/source/resolved.ts'
import { planGguf } from '../models/write/gguf_target.ts'
import { planGptq } from '../models/write/gptq_target.ts'
import type { TargetPlan } from '../models/write/model_writer.ts'
import { planPare } from '../models/write/pare_target.ts'
import { folderSource, ggufSource } from '../models/write/target.ts'
import { bitsPerWeight } from '../models/write/tensor_plan.ts'
import type { BlockTypeName } from '../nn/block_types.ts'
import { type CompressOptions, type ResolvedCompressOptions, resolveOptions } from './compress_options.ts'

/** What `compress` takes; where the result would go does not matter. */
export interface PlanOptions extends Omit<CompressOptions, 'output'> {
  output?: string
}

export interface CompressionPlan {
  source: string
  name: string
  target: ResolvedCompressOptions['target']
  method: ResolvedCompressOptions['method']
  /** Size of the source's weight files. */
  bytesSource: number
  /** Size of the result's weight files. */
  bytes: number
  /** Compressed matrices with all metadata, over their weights. */
  bitsPerWeight: number
  bitsPerWeightSource: number
  /** The whole weight file over all weights. */
  fileBitsPerWeight: number
  parameters: number
  tensors: readonly {
    name: string
    shape: readonly number[]
    role: string
    sourceType: string
    type: string
    bytes: number
    note?: string
  }[]
  notes: readonly string[]
}

/** The plan of a target for an open model. */
export function planTarget(source: OpenModel, options: ResolvedCompressOptions): TargetPlan {
  const { target, grid, scheme, embedding, actOrder, staticGroups, damping, trueSequential, fallback } =
    options
  const groupsSorted = actOrder && !staticGroups
  switch (target) {
    case 'gguf': {
      const from = ggufSource(source)
      const fileName = `${basename(source.name)
        .replace(/[^\w.-]+/g, '-')
        .replace(/\.(Q\d\w*|F16|F32|BF16|IQ\d\w*)$/i, '')}-${scheme}`
      const plan = planGguf(from, {
        scheme: scheme!,
        embedding: embedding as BlockTypeName | 'keep' | undefined,
        fallback,
        fileName,
      })
      return { ...plan, notes: [...plan.notes, ...from.losses] }
    }
    case 'gptq':
      return planGptq(folderSource(source), { grid: grid!, actOrder, staticGroups, damping, trueSequential })
    case 'pare':
      return planPare(folderSource(source), {
        grid: grid!,
        groupsSorted,
        embedding: embedding as BlockTypeName | undefined,
      })
  }
}

/** The plan as a record for people and programs. */
export function describePlan(
  source: OpenModel,
  plan: TargetPlan,
  options: ResolvedCompressOptions,
): CompressionPlan {
  const { tensors } = plan
  const parameters = tensors.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0)
  const matrices = tensors.filter(({ role }) => role === 'matrix')
  const weights = matrices.reduce((sum, { shape }) => sum + shape[0]! * shape[1]!, 0)
  const sourceBytes = matrices.reduce((sum, { name }) => sum + source.weights.infos.get(name)!.bytes, 0)
  return {
    source: options.source,
    name: source.name,
    target: options.target,
    method: options.method,
    bytesSource: source.weights.fileBytes,
    bytes: plan.fileBytes,
    bitsPerWeight: bitsPerWeight(tensors),
    bitsPerWeightSource: (sourceBytes * 8) / weights,
    fileBitsPerWeight: (plan.fileBytes * 8) / parameters,
    parameters,
    tensors: tensors.map(({ name, shape, role, sourceType, type, bytes, note }) => ({
      name,
      shape,
      role,
      sourceType,
      type,
      bytes,
      ...(note ? { note } : {}),
    })),
    notes: [...plan.notes, ...fallbackNotes(plan), ...sizeNotes(plan.fileBytes, source.weights.fileBytes)],
  }
}

const sizeNotes = (bytes: number, bytesSource: number): string[] =>
  bytes > bytesSource
    ? [
        `the weights of the result are larger than those of its source (${bytes} against ${bytesSource} bytes)`,
      ]
    : []

/** One sentence for each kind of stand-in, with how many weights it takes. */
function fallbackNotes({ tensors }: TargetPlan): string[] {
  const matrices = tensors.filter(({ role }) => role === 'matrix')
  const all = matrices.reduce((sum, { shape }) => sum + shape[0]! * shape[1]!, 0)
  const kinds = new Map<string, number>()
  for (const { note, type, shape } of matrices) {
    if (note)
      kinds.set(
        `${note}; ${type} stands in`,
        (kinds.get(`${note}; ${type} stands in`) ?? 0) + shape[0]! * shape[1]!,
      )
  }
  return [...kinds].map(
    ([kind, weights]) => `${kind} for ${((100 * weights) / all).toFixed(1)}% of the linear weights`,
  )
}

/**
 * The plan of a compression: every tensor, its type and bytes, before anything is computed.
 *
 * @example const { bytes, bitsPerWeight } = await plan({ source: 'model.gguf', target: 'gguf', scheme: 'Q3_K' })
 */
export async function plan(options: PlanOptions, resolve: ResolveOptions = {}): Promise<CompressionPlan> {
  const resolved = resolveOptions({ output: '', ...options })
  const source = await loadModel(options.source, { offline: resolved.offline || undefined, ...resolve })
  try {
    return describePlan(source, planTarget(source, resolved), resolved)
  } finally {
    source.close()
  }
}
