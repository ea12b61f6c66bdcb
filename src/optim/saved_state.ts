/** The record of tensors that an optimiser is saved as, read back with every entry checked. */
import { printable, StateError } from '../tensor/errors.ts'
import { type State, sameShape, showShape, type Tensor, tensor } from '../tensor/index.ts'

/** A count of steps as a tensor without axes; f64 holds every count. */
export const countTensor = (steps: number): Tensor => tensor([steps], [], 'f64')

/** What is saved of one parameter. */
export interface SavedMoments {
  count: number
  readonly moments: Map<string, Tensor>
}

/**
 * The steps of the optimiser, and what is saved of each path.
 *
 * @param expected the state and the moments of a path, or nothing where there is no such parameter
 * @throws StateError for the first entry that does not fit
 */
export function readState(
  name: string,
  saved: Readonly<Record<string, Tensor>>,
  expected: (path: string) => { state: State; moments: readonly string[] } | undefined,
): { all: number; paths: ReadonlyMap<string, SavedMoments> } {
  const wrong = (key: string, why: string) =>
    new StateError(
      `${name}: ${printable(key)} of the saved state ${why}; load the state of the same model and options`,
      {
        code: 'PARE_E_STATE_PATH',
        facts: { key },
      },
    )
  const whole = (key: string): number => {
    const number = saved[key]?.size === 1 && saved[key].dtype === 'f64' ? saved[key].item() : Number.NaN
    if (Number.isSafeInteger(number) && number >= 0) return number
    throw wrong(key, 'must be a count of steps in f64')
  }
  const paths = new Map<string, SavedMoments>()
  for (const [key, numbers] of Object.entries(saved)) {
    if (key === 'steps') continue
    const cut = key.lastIndexOf('/')
    const [path, moment] = [key.slice(0, Math.max(cut, 0)), key.slice(cut + 1)]
    const place = expected(path)
    if (!place) throw wrong(key, 'belongs to no parameter of this model')
    if (!paths.has(path)) paths.set(path, { count: 0, moments: new Map() })
    const entry = paths.get(path)!
    if (moment === 'steps') {
      entry.count = whole(key)
      continue
    }
    const { dtype, shape } = place.state
    if (!place.moments.includes(moment)) throw wrong(key, 'is no moment of this optimiser')
    if (numbers.dtype !== dtype || !sameShape(numbers.shape, shape))
      throw wrong(key, `needs ${dtype} ${showShape(shape)}, got ${numbers.dtype} ${showShape(numbers.shape)}`)
    entry.moments.set(moment, numbers)
  }
  for (const path of paths.keys())
    for (const moment of [...expected(path)!.moments, 'steps'])
      if (saved[`${path}/${moment}`] === undefined) throw wrong(`${path}/${moment}`, 'is missing')
  return { all: whole('steps'), paths }
}
