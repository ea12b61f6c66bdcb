/**
 * Solvers of additive codebooks, where a tile of a weight is a sum of entries, one of each codebook, times the scale of its
 * rows. Their arithmetic stands in native/src: k_means.rs, beam_search, codebook_gradient.rs, codebook_decode.rs.
 */
import { indexSelect, type RandomStream, scope, Tensor, tensor, zeros } from '../tensor/index.ts'
import { callNative } from '../tensor/native.ts'

/** Numbers in f32 or f64, all of one type. */
export interface AdditiveCodebooks {
  /** u32 [out / high, in / wide, books] */
  codes: Tensor
  /** [books, entries, high, wide] */
  codebooks: Tensor
  /** [out / high] */
  scales: Tensor
}

/** The weight [out, in] that they stand for, sums in the type of the codebooks. @throws ShapeError for a code past the last entry */
export function decodeAdditive({ codes, codebooks, scales }: AdditiveCodebooks): Tensor {
  const [down, across] = codes.shape as [number, number, number]
  const [, , high, wide] = codebooks.shape as [number, number, number, number]
  const handle = callNative((native) => native.decodeCodebooks(codes.handle, codebooks.handle, scales.handle))
  return new Tensor(codes.kernels, handle, codebooks.dtype, [down * high, across * wide])
}

/** The gradient of codebooks and scales from that of the weight [out, in], codes fixed. */
export function additiveGradient(
  { codes, codebooks, scales }: AdditiveCodebooks,
  gradient: Tensor,
): { codebooks: Tensor; scales: Tensor } {
  const found = callNative((native) =>
    native.codebookGradient(codes.handle, codebooks.handle, scales.handle, gradient.handle),
  )
  const like = (x: Tensor, handle: number) => new Tensor(x.kernels, handle, x.dtype, x.shape)
  return { codebooks: like(codebooks, found.codebooks), scales: like(scales, found.scales) }
}

export interface ResidualKMeansOptions {
  books: number
  /** Entries of each codebook. */
  entries: number
  /** Rounds of Lloyd's algorithm for each codebook, at most; every ten it stops where centroids stand still. */
  rounds: number
  /** Where the first centroids come from: vectors in random order. */
  random: RandomStream
}

/**
 * Codebooks for vectors [count, size], one after the other on what the ones before left over.
 *
 * @returns codebooks [books, entries, size] and codes u32 [count, books]
 * @throws NumericalError where a vector is not finite
 */
export function residualKMeans(
  vectors: Tensor,
  { books, entries, rounds, random }: ResidualKMeansOptions,
): { codebooks: Tensor; codes: Tensor } {
  const [count, size] = vectors.shape as [number, number]
  return scope(() => {
    const numbers = vectors.dtype === 'f64' ? Float64Array : Float32Array
    const all = new numbers(books * entries * size)
    const codes = new Uint32Array(count * books)
    let left = vectors
    for (let book = 0; book < books; book++) {
      const chosen = Math.min(entries, count)
      // Codebooks with more entries than vectors end in zeros.
      const start = zeros([entries, size], vectors.dtype).toArray() as Float32Array | Float64Array
      start.set(indexSelect(left, 0, random.permutation(count).slice(0, 0, chosen)).toArray() as Float64Array)
      const found = callNative((native) =>
        native.kMeans(left.handle, tensor(start, [entries, size], vectors.dtype).handle, rounds),
      )
      const centroids = new Tensor(vectors.kernels, found.centroids, vectors.dtype, [entries, size])
      const own = new Tensor(vectors.kernels, found.codes, 'u32', [count])
      all.set(centroids.toArray() as Float64Array, book * entries * size)
      for (const [i, code] of (own.toArray() as Uint32Array).entries()) codes[i * books + book] = code
      left = left.sub(indexSelect(centroids, 0, own))
    }
    return {
      codebooks: tensor(all, [books, entries, size], vectors.dtype),
      codes: tensor(codes, [count, books], 'u32'),
    }
  })
}

export interface BeamSearchOptions {
  /** Column group and book of each visit, in their order; see `randomVisits`. */
  visits: Uint32Array
  /** Hypotheses of a row group, from 1 on. */
  beam: number
}

/**
 * Better codes for |(W - W^) X|: visit by visit, every row group on its own. With beam 1 no visit makes it worse.
 *
 * @param weight [out, in] and `hessian` [in, in], symmetric, in the type of the codebooks
 * @returns codes, and in f64 [out / high] by how much tr(D H D^T) of each row group fell
 */
export function beamSearch(
  weight: Tensor,
  hessian: Tensor,
  { codes, codebooks, scales }: AdditiveCodebooks,
  { visits, beam }: BeamSearchOptions,
): { codes: Tensor; gains: Tensor } {
  const places = tensor(visits, [visits.length / 2, 2], 'u32')
  const found = callNative((native) =>
    native.beamSearch(
      weight.handle,
      hessian.handle,
      codes.handle,
      codebooks.handle,
      scales.handle,
      places.handle,
      beam,
    ),
  )
  return {
    codes: new Tensor(codes.kernels, found.codes, 'u32', codes.shape),
    gains: new Tensor(codes.kernels, found.gains, 'f64', scales.shape),
  }
}

/** Column groups in random order, and inside of each the books in random order. */
export function randomVisits(random: RandomStream, groups: number, books: number): Uint32Array {
  return scope(() => {
    const visits = new Uint32Array(2 * groups * books)
    for (const [i, group] of (random.permutation(groups).toArray() as Uint32Array).entries())
      for (const [j, book] of (random.permutation(books).toArray() as Uint32Array).entries())
        visits.set([group, book], 2 * (i * books + j))
    return visits
  })
}
