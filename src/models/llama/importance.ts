/** The importance of a model's inputs, from a file whose names are GGUF's. */
import { type Imatrix, type InputSquares, meanSquares } from '../../formats/gguf/imatrix.ts'
import { OptionError, printable } from '../../tensor/errors.ts'
import type { WeightInfo } from '../model_weights.ts'
import { ggufName } from './names.ts'

/**
 * The mean square of each input, by the name of the weight; of weights that the file does not know there is none.
 *
 * @param path of the file, for messages
 * @throws OptionError where a weight has another number of inputs, or the file knows no weight of the model
 */
export function importanceOf(
  { entries }: Imatrix,
  path: string,
  infos: ReadonlyMap<string, Pick<WeightInfo, 'shape'>>,
): Map<string, Float32Array> {
  const found = new Map<string, Float32Array>()
  for (const [name, { shape }] of infos) {
    const inFile = shape.length === 2 ? ggufName(name) : undefined
    const squares = inFile === undefined ? undefined : entries.get(inFile)
    if (!squares) continue
    const columns = shape[1]!
    if (squares.sums.length !== columns)
      throw new OptionError(
        `--imatrix: ${printable(path)} has ${squares.sums.length} inputs for ${printable(inFile!)}, the weight has ${columns}; give one that was made from this model`,
        { code: 'PARE_E_IMATRIX', facts: { tensor: name, columns, inputs: squares.sums.length } },
      )
    found.set(name, meanSquares(squares))
  }
  if (found.size > 0) return found
  throw new OptionError(
    `--imatrix: ${printable(path)} knows none of the weights of this model, but ${entries.size} others such as ${printable([...entries.keys()][0] ?? 'none')}; give one that was made from this model`,
    { code: 'PARE_E_IMATRIX', facts: { entries: entries.size } },
  )
}

/** What was seen of the inputs of one weight. */
export interface SeenInputs {
  /** Sum of squares of each input. */
  readonly sums: ArrayLike<number>
  /** Tokens. */
  readonly rows: number
}

/**
 * An importance matrix as llama.cpp has it.
 *
 * @param statistics by the weight's name in Pare, which is Hugging Face's
 * @throws OptionError for a weight that GGUF has no name for
 */
export function imatrixOf(
  statistics: ReadonlyMap<string, SeenInputs>,
  about: Omit<Imatrix, 'entries'>,
): Imatrix {
  const entries = new Map<string, InputSquares>()
  for (const [name, { sums, rows }] of statistics) {
    const inFile = ggufName(name)
    if (inFile === undefined)
      throw new OptionError(`${printable(name)}: GGUF files have no such weight; leave it out`)
    entries.set(inFile, { sums: Float32Array.from(sums), counts: Float32Array.of(rows) })
  }
  return { ...about, entries }
}
