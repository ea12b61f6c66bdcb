/**
 * Rewrites a model so that its products with constant matrices are computed from 4 or 8 bits: MatMul and Gemm become
 * com.microsoft MatMulNBits. Everything else of the file stays byte for byte, fields that nobody knows too.
 */
import { basename, resolve } from 'node:path'
import { patternMatches } from '../../nn/name_pattern.ts'
import { OptionError, printable } from '../../tensor/errors.ts'
import type { ArchiveWriter } from '../archive.ts'
import { type Constant, type Scope, scopesOf, valueNames } from './constant_scopes.ts'
import type { ExternalOptions } from './external_layout.ts'
import { chooseProduct, type Product } from './matmul_nbits_choice.ts'
import { QuantizedEdits, type QuantizedMatrix } from './matmul_nbits_edits.ts'
import { type MatMulBits, type MatMulNBitsLayout, sizesOf } from './matmul_nbits_packing.ts'
import { type OnnxArchive, openOnnx } from './onnx.ts'
import { quantizeTensor, scaleBytes } from './quantize_stream.ts'
import { labelOf } from './tensor_names.ts'

export interface RewriteOptions extends ExternalOptions {
  /** Of a weight. 4 runs everywhere, 8 in newer runtimes, 2 in the newest. @default 4 */
  bits?: MatMulBits
  /** Inputs that share a scale: 16, 32, 64, 128 or 256. @default 32 */
  blockSize?: number
  /** Without zero points. @default true */
  symmetric?: boolean
  /** What the runtime may compute in: 0 its own choice, 1 f32, 2 f16, 3 bf16, 4 int8. @default 0 */
  accuracyLevel?: 0 | 1 | 2 | 3 | 4
  /** Matrices with fewer elements stay as they are. @default 4096 */
  leastWeights?: number
  /** Nodes that stay as they are: patterns over their names, or over their first output where they have none. @default [] */
  exclude?: readonly string[]
}

/** What became of a product. */
export interface RewrittenNode {
  /** The graph it stands in: `''`, or the path to a graph inside of a node. */
  readonly graph: string
  readonly node: string
  readonly opType: string
  /** Name of its matrix. */
  readonly weight?: string
  /** Why it stays as it was; missing where it is MatMulNBits now. */
  readonly reason?: string
}

export interface RewriteReport {
  readonly nodes: readonly RewrittenNode[]
  /** Of the matrices that were quantised, each once. */
  readonly bytesBefore: number
  /** Of their codes, scales and zero points. */
  readonly bytesAfter: number
  /** Matrices that stay in the file beside their codes, since something else uses them. */
  readonly kept: readonly string[]
}

/**
 * Rewrites `source` as `target`. About one matrix is in memory at a time. Tensors in files beside the model go to
 * files beside the new one.
 *
 * @throws OptionError for options and for a target that is a file of the source; FormatError for a damaged source;
 * NumericalError for a matrix that is not finite. Nothing of the target is left then.
 * @example rewriteMatMulNBits('model.onnx', 'model_q4.onnx', { bits: 4, blockSize: 32 }).nodes
 */
export function rewriteMatMulNBits(
  source: string,
  target: string,
  options: RewriteOptions = {},
): RewriteReport {
  const chosen = checkOptions(options)
  const archive = openOnnx(source)
  try {
    checkTarget(archive, source, target)
    return rewrite(archive, target, chosen)
  } finally {
    archive.close()
  }
}

type Chosen = Required<Omit<RewriteOptions, keyof ExternalOptions>> & ExternalOptions

function checkOptions(options: RewriteOptions): Chosen {
  const chosen = {
    bits: 4 as MatMulBits,
    blockSize: 32,
    symmetric: true,
    accuracyLevel: 0 as const,
    leastWeights: 4096,
    exclude: [],
    ...options,
  }
  sizesOf({ ...chosen, rows: 1, columns: 1 })
  if (![0, 1, 2, 3, 4].includes(chosen.accuracyLevel))
    throw new OptionError(
      `accuracyLevel must be 0, 1, 2, 3 or 4, got ${chosen.accuracyLevel}; 0 lets the runtime choose`,
    )
  if (!(chosen.leastWeights >= 0))
    throw new OptionError(`leastWeights must be 0 or more, got ${chosen.leastWeights}; 4096 is usual`)
  return chosen
}

/** Files are read while the new ones are written, and get their names one after the other. */
function checkTarget({ parsed, tensors }: OnnxArchive, source: string, target: string): void {
  const read = new Set(
    [source, ...[...tensors.values()].map(({ file }) => file)].map((path) => resolve(path)),
  )
  const own = resolve(target)
  for (const path of read)
    if (path === own || (path.startsWith(`${own}_data`) && /^_data(?:_\d+)?$/.test(path.slice(own.length))))
      throw new OptionError(
        `${printable(target)}: would replace ${printable(basename(path))}, which the model is read from; choose another name`,
        { code: 'PARE_E_SAME_FILE', facts: { target, path } },
      )
  const storages = [...parsed.storages.values()]
  const lost =
    storages.some((storage) => storage.kind === 'unread' && storage.external) ||
    (parsed.training && storages.some(({ kind }) => kind === 'external'))
  if (lost)
    throw new OptionError(
      `${printable(source)}: keeps tensors of a type that Pare does not read, or of graphs for training, in other files, which would be left behind; keep them in the model`,
      { code: 'PARE_E_ONNX_TYPE', facts: { source } },
    )
}

function rewrite(archive: OnnxArchive, target: string, options: Chosen): RewriteReport {
  const scopes = scopesOf(archive.parsed)
  const edits = new QuantizedEdits(archive, valueNames(scopes), options)
  const matrices = new Map<Constant, Map<boolean, QuantizedMatrix>>()
  const nodes: RewrittenNode[] = []
  for (const scope of scopes) {
    const excluded = excludedNodes(scope, options.exclude)
    for (const [index, node] of scope.graph.nodes.entries()) {
      const product = chooseProduct(node, scope, options.leastWeights)
      if (!product) continue
      const line = { graph: scope.path, node: labelOf(node, index), opType: node.opType }
      if ('reason' in product) nodes.push({ ...line, reason: product.reason })
      else if (excluded[index]) nodes.push({ ...line, weight: product.weight.name, reason: 'it is excluded' })
      else {
        edits.replaceNode(node, product, matrixFor(product, matrices, edits, options))
        product.weight.uses--
        nodes.push({ ...line, weight: product.weight.name })
      }
    }
  }
  for (const { domain, name, graph } of archive.parsed.functions)
    for (const [index, node] of graph.nodes.entries())
      if (node.opType === 'MatMul' || node.opType === 'Gemm')
        nodes.push({
          graph: `${domain}.${name}/`,
          node: labelOf(node, index),
          opType: node.opType,
          reason: 'it stands in a function of the model',
        })
  for (const [weight, forms] of matrices) edits.replaceWeight(weight, [...forms.values()])
  const all = [...matrices].flatMap(([weight, forms]) =>
    [...forms.values()].map((matrix) => ({ weight, matrix })),
  )
  const writer = edits.start(target)
  try {
    for (const { weight, matrix } of all) appendMatrix(archive, writer, weight, matrix, options.symmetric)
    edits.copyKept(writer)
    writer.finish()
  } catch (error) {
    writer.abort()
    throw error
  }
  const entryBytes = (weight: Constant) => archive.byteLength(weight.tensor)
  return {
    nodes,
    bytesBefore: [...matrices.keys()].reduce((sum, weight) => sum + entryBytes(weight), 0),
    bytesAfter: all.reduce((sum, { matrix }) => sum + matrix.bytes, 0),
    kept: [...matrices.keys()].filter(({ uses }) => uses > 0).map(({ name }) => name),
  }
}

function excludedNodes({ graph }: Scope, patterns: readonly string[]): boolean[] {
  const names = graph.nodes.map(({ name, outputs }) => name || (outputs[0] ?? ''))
  const found = patterns.map((pattern) => patternMatches('exclude', pattern, names))
  return names.map((_, i) => found.some((matches) => matches[i]))
}

/** A matrix is quantised once for all nodes that take it the same way round. */
function matrixFor(
  { weight, turned }: Product,
  matrices: Map<Constant, Map<boolean, QuantizedMatrix>>,
  edits: QuantizedEdits,
  { bits, blockSize }: Chosen,
): QuantizedMatrix {
  const forms = matrices.get(weight) ?? new Map<boolean, QuantizedMatrix>()
  matrices.set(weight, forms)
  const known = forms.get(turned)
  if (known) return known
  const [first, second] = weight.tensor.shape as [number, number]
  const layout: MatMulNBitsLayout = turned
    ? { bits, blockSize, rows: first, columns: second }
    : { bits, blockSize, rows: second, columns: first }
  const matrix = edits.announce(weight, layout, turned)
  forms.set(turned, matrix)
  return matrix
}

function appendMatrix(
  archive: OnnxArchive,
  writer: ArchiveWriter,
  { tensor }: Constant,
  { layout, turned, codes, scales, zeroPoints }: QuantizedMatrix,
  symmetric: boolean,
): void {
  const weights = quantizeTensor(archive, tensor, layout, turned, symmetric)
  writer.append(codes.name, weights.codes)
  writer.append(scales.name, scaleBytes(weights.scales, tensor.type))
  if (zeroPoints) writer.append(zeroPoints.name, weights.zeroPoints!)
}
