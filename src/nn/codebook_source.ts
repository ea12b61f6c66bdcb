/**
 * A weight of additive codebooks whose codebooks and scales can be trained; codes stay. The gradient of the weight goes
 * back through the decoding: each entry gets the sum over the tiles that point at it.
 */
import { customGradient, linear, scope, type Tensor } from '../tensor/index.ts'
import { type AdditiveCodebooks, additiveGradient, decodeAdditive } from './additive_codebooks.ts'
import { bitsOfCodebooks, type CodebookValues } from './values/codebook.ts'
import type { WeightSource } from './weight_source.ts'

export interface CodebookSource extends WeightSource {
  /** As it is stored: codebooks and scales of now, rounded to f16. The caller's scope owns them, but for the codes. */
  values(): CodebookValues
}

/**
 * @param codebooks [books, entries, high, wide] and `scales` [out / high], of one type, f32 or f64: what `parameters` of the
 * source gives, so tensors of `Parameters` where it is trained
 * @param bits of one code
 * @example
 * const { codes, codebooks, scales, bits } = values
 * const own = { codes, codebooks: parameters.add('q.codebooks', codebooks), scales: parameters.add('q.scales', scales) }
 * layer.source = codebookSource(own, bits)
 */
export function codebookSource(parts: AdditiveCodebooks, bits: number): CodebookSource {
  const { codes, codebooks, scales } = parts
  const [down, across] = codes.shape as [number, number, number]
  const [, , high, wide] = codebooks.shape as [number, number, number, number]
  const shape = [down * high, across * wide] as const
  const decode = customGradient({
    name: 'decodeCodebooks',
    forward: ([books, rows]: readonly [Tensor, Tensor]) => ({
      output: decodeAdditive({ codes, codebooks: books, scales: rows }),
      saved: [books, rows] as const,
    }),
    backward: ({ saved: [books, rows], gradient }) => {
      const found = additiveGradient({ codes, codebooks: books, scales: rows }, gradient)
      return [found.codebooks, found.scales]
    },
  })
  const dense = () => decode(codebooks, scales)
  const values = (): CodebookValues => {
    const half = (x: Tensor) => scope(() => x.cast('f16').cast('f32'))
    return { kind: 'codebook', shape, bits, codes, codebooks: half(codebooks), scales: half(scales) }
  }
  const stored = bitsOfCodebooks({ kind: 'codebook', shape, bits, codes, codebooks, scales })
  return {
    shape,
    matmul: (x, bias) => scope(() => linear(x, dense(), bias)),
    dense,
    parameters: () =>
      new Map([
        ['codebooks', codebooks],
        ['scales', scales],
      ]),
    size: () => ({ informationBits: stored, storedBits: stored }),
    values,
    resources: () => [codes, codebooks, scales],
  }
}
