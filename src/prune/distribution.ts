/**
 * How one sparsity is spread over the tensors of a model (JaxPruner, arXiv:2304.14082, section 3).
 *
 *   uniform   s_i = s
 *   erk       s_i = 1 - eps r_i,  r_i = (sum of extents / product of extents)^power    Evci et al. 2020,
 *             with eps such that floor(s N_i) zeros in each N_i add up                 arXiv:1911.11134, section 3
 *             where eps r_i is above 1 the tensor stays dense, and eps is made anew for the others
 */
import { OptionError } from '../tensor/errors.ts'
import { elementCount, normalizeAxis, type Shape } from '../tensor/index.ts'
import { checkSparsity } from './mask.ts'
import { type Selection, selected } from './selection.ts'

export type Distribution = Selection &
  (
    | { kind: 'uniform' }
    | {
        kind: 'erk'
        /** Exponent, from 0 on; 0 is uniform. @default 1 */
        power?: number
        /** Whether the extents of a convolution's kernel count; else only its channels do. @default true */
        kernel?: boolean
        /** Axes of the input and output channels. @default [-1, 0], as weights are [out, .., in] */
        channels?: readonly [number, number]
      }
  )

/**
 * The sparsity of each parameter that is pruned, in the order of the shapes.
 *
 * @param sparsity in [0, 1)
 * @throws OptionError for numbers out of their range and patterns that take nothing
 * @example spread(0.8, new Map([['up.weight', [64, 16]]])).get('up.weight') // 0.8
 */
export function spread(
  sparsity: number,
  shapes: ReadonlyMap<string, Shape>,
  distribution: Distribution = { kind: 'uniform' },
): Map<string, number> {
  checkSparsity('distribution', sparsity)
  const { free, custom } = selected('distribution', shapes, distribution)
  const own =
    distribution.kind === 'uniform'
      ? new Map(free.map((path) => [path, sparsity]))
      : erk(sparsity, new Map(free.map((path) => [path, shapes.get(path)!])), distribution)
  return new Map(
    [...shapes.keys()].flatMap((path) => {
      const chosen = custom.get(path) ?? own.get(path)
      return chosen === undefined ? [] : [[path, chosen] as const]
    }),
  )
}

function erk(
  sparsity: number,
  shapes: ReadonlyMap<string, Shape>,
  { power = 1, kernel = true, channels = [-1, 0] }: Distribution & { kind: 'erk' },
): Map<string, number> {
  if (!(power >= 0 && Number.isFinite(power)))
    throw new OptionError(`distribution: power must be at least 0, got ${power}`)
  const layers = [...shapes].map(([path, shape]) => {
    const extents =
      kernel || shape.length < 2
        ? shape
        : channels.map((axis) => shape[normalizeAxis(axis, shape.length, 'erk')]!)
    const size = elementCount(shape)
    const zeros = Math.floor(sparsity * size)
    const sum = extents.reduce((all, extent) => all + extent, 0)
    return { path, size, zeros, raw: (sum / elementCount(extents)) ** power, dense: false }
  })
  for (;;) {
    const sparse = layers.filter(({ dense }) => !dense)
    const total = (
      of: readonly (typeof layers)[number][],
      what: (layer: (typeof layers)[number]) => number,
    ) => of.reduce((sum, layer) => sum + what(layer), 0)
    const ones =
      total(sparse, ({ size, zeros }) => size - zeros) -
      total(
        layers.filter(({ dense }) => dense),
        ({ zeros }) => zeros,
      )
    const epsilon = ones / total(sparse, ({ raw, size }) => raw * size)
    const largest = Math.max(...sparse.map(({ raw }) => raw))
    if (sparse.length === 0 || epsilon * largest <= 1)
      return new Map(layers.map(({ path, raw, dense }) => [path, dense ? 0 : Math.max(0, 1 - epsilon * raw)]))
    for (const layer of sparse) if (layer.raw === largest) layer.dense = true
  }
}
