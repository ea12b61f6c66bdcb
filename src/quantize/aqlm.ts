/**
 * AQLM: tiles of neighbouring weights become sums of vectors from learned codebooks, chosen for the outputs of the layer.
 *
 *   W^[i, j] = s_i sum_m C[m, b_ijm]                  Egiazarian et al. 2024, arXiv:2401.06118, eq. 2 and 6
 *   L = tr((W - W^) H (W - W^)^T) / out,  H = X^T X / tokens                                     eq. 4
 *   start: s_i = |W_i|, residual k-means on W / s                                       section 3.1
 *   rounds: Adam on C and s with codes fixed (eq. 8), then a beam search over the codes (eq. 7), groups of columns outside
 *           and codebooks inside
 *
 * W is [out, in]; X holds the inputs, one token a row. Differs from the published code: after the last round codebooks and
 * scales are rounded to f16, as they are stored, and the codes are searched once more for what they became.
 */
import type { LayerMethod } from '../calibrate/method.ts'
import { squaresOf } from '../calibrate/statistics.ts'
import { type AdditiveCodebooks, beamSearch, randomVisits, residualKMeans } from '../nn/additive_codebooks.ts'
import type { CodebookValues } from '../nn/values/codebook.ts'
import { storedSource } from '../nn/values/values.ts'
import { NumericalError, OptionError } from '../tensor/errors.ts'
import { type RandomStream, randomStream, scope, type Tensor } from '../tensor/index.ts'
import { type AqlmOptions, type AqlmSettings, aqlmSettings } from './aqlm_options.ts'
import { CodebookDescent } from './codebook_steps.ts'

export type { AqlmOptions } from './aqlm_options.ts'

/**
 * @throws OptionError here for impossible options, from `compress` where tiles do not divide the weight or there is no Gram
 * matrix; NumericalError where the weight or the Gram matrix is not finite, or a scale
 * does not fit f16
 * @example aqlm({ books: 2, bookBits: 8 }).compress({ name, dense, current: dense, statistics })
 */
export function aqlm(options: AqlmOptions = {}): LayerMethod {
  const settings = aqlmSettings(options)
  const { bookBits, tileRows, tileColumns, seed } = settings
  return {
    name: 'aqlm',
    needs: ['gram'],
    compress({ name, current, mask, statistics }) {
      const { gram } = statistics
      if (!gram) throw new OptionError(`${name}: aqlm needs the Gram matrix of the layer's inputs`)
      const [out, inputs] = current.shape as [number, number]
      if (out % tileRows !== 0 || inputs % tileColumns !== 0)
        throw new OptionError(
          `${name}: tiles of ${tileRows} x ${tileColumns} must divide ${out} x ${inputs} weights; choose other tiles or keep the weight`,
        )
      for (const [what, x] of [
        ['weights', current],
        ['inputs', gram],
      ] as const)
        if (!scope(() => x.isFinite().all().item()))
          throw new NumericalError(
            `${name}: the ${what} of this layer are not finite; the model or its text is damaged`,
            { code: 'PARE_E_NOT_FINITE' },
          )
      const notes: string[] = []
      const dead = squaresOf(gram).filter((square) => square === 0).length
      if (dead > 0) notes.push(`${dead} inputs are always 0`)
      if (statistics.rows < inputs) notes.push(`only ${statistics.rows} tokens for ${inputs} inputs`)
      if (mask) notes.push('weights that were pruned get values again')
      const values = scope((): CodebookValues => {
        const weight = current.dtype === 'f64' ? current : current.cast('f32')
        const hessian = gram.mul(1 / Math.max(1, statistics.rows)).cast(weight.dtype)
        const found = additiveCodebooks(weight, hessian, settings, randomStream(seed, `aqlm/${name}`))
        const { codes, codebooks, scales } = found
        return {
          kind: 'codebook',
          shape: [out, inputs],
          bits: bookBits,
          codes,
          codebooks: codebooks.cast('f32'),
          scales: scales.cast('f32'),
        }
      })
      const source = storedSource(values)
      const decoded = source.dense()
      if (!scope(() => decoded.isFinite().all().item()))
        throw new NumericalError(
          `${name}: rows of this weight are too long for scales in f16; keep the weight`,
        )
      return { source, decoded, diagnostics: { notes } }
    },
  }
}

/** L after k-means, then at the end of each round, then of what is stored. */
export interface AqlmResult extends AdditiveCodebooks {
  losses: number[]
}

/**
 * The whole of the method for one weight [out, in] and H [in, in], of one type. Codebooks and scales are representable in
 * f16.
 */
export function additiveCodebooks(
  weight: Tensor,
  hessian: Tensor,
  settings: AqlmSettings,
  random: RandomStream,
): AqlmResult {
  const { books, tolerance, rounds, adamSteps, learningRate, beam, tileColumns } = settings
  const groups = weight.extent(1) / tileColumns
  return scope(() => {
    const start = kMeansStart(weight, settings, random)
    const descent = new CodebookDescent(weight, hessian, start)
    try {
      const search = (given: AdditiveCodebooks) =>
        scope(
          () =>
            beamSearch(weight, hessian, given, { visits: randomVisits(random, groups, books), beam }).codes,
        )
      let { codes } = start
      const losses = [descent.loss(codes)]
      for (let round = 0; round < rounds; round++) {
        if (round > 0 && losses.at(-1)! > (1 - tolerance) * Math.min(...losses.slice(0, -1))) break
        for (let step = 0; step < adamSteps; step++) descent.step(codes, learningRate)
        codes = search(descent.with(codes))
        losses.push(descent.loss(codes))
      }
      const half = (x: Tensor) => x.cast('f16').cast(weight.dtype)
      const { codebooks, scales } = descent.with(codes)
      const stored = { codes, codebooks: half(codebooks), scales: half(scales) }
      const last = { ...stored, codes: search(stored) }
      const rounded = new CodebookDescent(weight, hessian, last)
      losses.push(rounded.loss(last.codes))
      rounded.dispose()
      return { ...last, losses }
    } finally {
      descent.dispose()
    }
  })
}

/** Scales of rows, and codebooks for the tiles of what they leave. */
export function kMeansStart(
  weight: Tensor,
  { books, bookBits, tileRows, tileColumns, kMeansRounds }: AqlmSettings,
  random: RandomStream,
): AdditiveCodebooks {
  const [out, inputs] = weight.shape as [number, number]
  const [down, across] = [out / tileRows, inputs / tileColumns]
  return scope(() => {
    const rows = weight.reshape([down, tileRows * inputs])
    const scales = rows.square().sum([-1]).sqrt().add(1e-9) // [down]
    const tiles = rows
      .div(scales.unsqueeze(-1))
      .reshape([down, tileRows, across, tileColumns])
      .permute([0, 2, 1, 3])
      .reshape([down * across, tileRows * tileColumns])
    const { codebooks, codes } = residualKMeans(tiles, {
      books,
      entries: 2 ** bookBits,
      rounds: kMeansRounds,
      random,
    })
    return {
      codes: codes.reshape([down, across, books]),
      codebooks: codebooks.reshape([books, 2 ** bookBits, tileRows, tileColumns]),
      scales,
    }
  })
}
