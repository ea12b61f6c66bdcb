/**
 * Spaces in which the error of a weight is measured before its best low-rank part is taken. With G = X^T X the sums over
 * the inputs X of a layer, a space is a matrix S; an error D counts as |D S|.
 *
 *   eigen        S = Q diag(sqrt(lambda)),  G = Q diag(lambda) Q^T     |D S| = |D X^T|: the error of the outputs
 *   activation   S = diag(sqrt(G_jj))                                  inputs by their root mean square, as if unrelated
 *   svd          S = I                                                 the error of the weights
 *
 * Directions that the inputs hardly use have no inverse: where lambda (or G_jj) is at most its largest value times the
 * number of inputs times 2^-23, both the root and its inverse count as 0.
 */
import { squaresOf } from '../calibrate/statistics.ts'
import { eigh, matmul, scope, type Tensor, tensor } from '../tensor/index.ts'

export type ErrorSpaceName = 'eigen' | 'svd' | 'activation'

export interface ErrorSpace {
  /** D [out, in] to D S. */
  into(error: Tensor): Tensor
  /** Rows R [rank, ..] of that space to R S^+, [rank, in]. */
  back(rows: Tensor): Tensor
  /** Directions that count as 0. */
  dropped: number
}

/** Eigenvalues ascending, [in], and eigenvectors in columns, [in, in], both f64. */
interface Spectrum {
  values: Float64Array
  vectors: Float64Array
}

/** The spectrum of a Gram matrix, f64 [in, in]. @throws NumericalError where it is not finite */
export type Decompose = (gram: Tensor) => Spectrum

const spectrumOf: Decompose = (gram) =>
  scope(() => {
    const { values, vectors } = eigh(gram)
    return { values: values.toArray() as Float64Array, vectors: vectors.toArray() as Float64Array }
  })

/**
 * Remembers the last spectrum, for weights that share their input. It compares numbers, since sums are gathered in memory
 * that is used again. Holds two matrices of the size of the last Gram matrix.
 */
export function rememberedSpectrum(decompose: Decompose = spectrumOf): Decompose {
  let last: { numbers: Float64Array; spectrum: Spectrum } | undefined
  return (gram) => {
    const numbers = scope(() => gram.toArray()) as Float64Array
    if (!last || !sameNumbers(last.numbers, numbers)) last = { numbers, spectrum: decompose(gram) }
    return last.spectrum
  }
}

const sameNumbers = (a: Float64Array, b: Float64Array): boolean =>
  a.length === b.length &&
  Buffer.compare(
    Buffer.from(a.buffer, a.byteOffset, a.byteLength),
    Buffer.from(b.buffer, b.byteOffset, b.byteLength),
  ) === 0

/**
 * @param gram f64 [in, in]
 * @throws NumericalError where it is not finite
 */
export function errorSpace(
  kind: ErrorSpaceName,
  gram: Tensor,
  decompose: Decompose = spectrumOf,
): ErrorSpace {
  if (kind === 'svd') return { into: (error) => error, back: (rows) => rows, dropped: 0 }
  const inputs = gram.extent(0)
  if (kind === 'activation') {
    const { roots, inverses, kept } = usable(squaresOf(gram))
    const along = (numbers: Float64Array) => (x: Tensor) =>
      scope(() => x.mul(tensor(numbers, [inputs], 'f64')))
    return { into: along(roots), back: along(inverses), dropped: inputs - kept }
  }
  const { values, vectors } = decompose(gram)
  const { roots, inverses, kept } = usable(values)
  const dropped = inputs - kept
  // Values ascend, so that those without an inverse stand first.
  const q = () => tensor(vectors, [inputs, inputs], 'f64').slice(1, dropped, inputs)
  const part = (numbers: Float64Array) => tensor(numbers.slice(dropped), [kept], 'f64')
  return {
    into: (error) => scope(() => matmul(error, q()).mul(part(roots))),
    back: (rows) => scope(() => matmul(rows.mul(part(inverses)), q().transpose())),
    dropped,
  }
}

/** Roots and their inverses, 0 where the value is negligible, and how many are not. */
function usable(values: Float64Array): { roots: Float64Array; inverses: Float64Array; kept: number } {
  const floor = Math.max(0, ...values) * Math.max(1, values.length) * 2 ** -23
  const roots = values.map((value) => (value > floor ? Math.sqrt(value) : 0))
  const inverses = roots.map((root) => (root > 0 ? 1 / root : 0))
  return { roots, inverses, kept: roots.filter((root) => root > 0).length }
}
