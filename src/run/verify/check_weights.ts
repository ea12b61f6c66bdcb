/**
 * Whether the weights of a result are those that were computed: every one is read once and must be finite; where its
 * digest is known it must be the same, and where the source is there it must not be farther from it than its bits allow.
 */
import type { ModelWeights } from '../../models/model_weights.ts'
import type { OpenModel } from '../../models/open_model.ts'
import { AbortError, FormatError, printable } from '../../tensor/errors.ts'
import { farthest } from './bounds.ts'
import { readWeight } from './read_weight.ts'
import { roundsValues, type ValueDigest } from './value_digest.ts'
import { type Check, checkOf } from './verification.ts'
import { familyWeights, nameIn, unreadTensors } from './weight_names.ts'

export interface WeightTask {
  result: OpenModel
  source?: OpenModel | undefined
  /** Of the values that were computed, by name. */
  digests?: ReadonlyMap<string, ValueDigest> | undefined
  signal?: AbortSignal | undefined
  progress?: ((share: number, name: string) => void) | undefined
}

/** |W' - W| / |W| of formats that round: 2^-9 of an offset of up to three deviations in bf16, twice, and room for the estimate. */
const ROUNDED = 2 ** -6

/** @returns also whether all could be read, and which have the values that were computed */
export async function checkWeights(
  task: WeightTask,
): Promise<{ check: Check; read: boolean; computed: ReadonlySet<string> }> {
  const { result, source, digests, signal, progress } = task
  const faults = unreadTensors(result).map(
    (name) => `${printable(name)}: is in the file, and nothing reads it`,
  )
  const names = familyWeights(result)
  const others = source && familyWeights(source)
  const matrices = new Set<string>(result.model.stages.flatMap(({ weights }) => weights))
  const known = new Set(names.values())
  for (const name of digests?.keys() ?? [])
    if (!known.has(name)) faults.push(`${printable(name)}: was compressed, and the result has no such weight`)
  const computed = new Set<string>()
  const found = { compared: 0, equal: 0, unread: 0, farthest: 0, farthestName: '' }
  let done = 0
  for (const [plain, name] of names) {
    await new Promise((resolve) => setImmediate(resolve))
    if (signal?.aborted) throw new AbortError()
    progress?.(done++ / names.size, name)
    const say = (what: string) => void faults.push(`${printable(name)}: ${what}`)
    const other = others && otherOf(source!, nameIn(others, plain), shapeOf(result, name), say)
    try {
      const expected = digests?.get(name)
      const weight = { weights: result.weights, name, isMatrix: matrices.has(name) }
      const { distance, error, alike, shifted } = readWeight(weight, { expected, other })
      if (distance !== undefined) {
        if (distance <= (roundsValues(result.format) ? ROUNDED : 0)) computed.add(name)
        else
          say(
            `holds other values than were computed${Number.isFinite(distance) ? `, apart by about ${percent(distance)}` : ''}`,
          )
      }
      if (error === undefined || !other) continue
      found.compared++
      if (error === 0) found.equal++
      if (!(error <= found.farthest)) Object.assign(found, { farthest: error, farthestName: name })
      const bound = farthest(result, name, infoOf(source!, other.name))
      if (bound && !(error <= bound.error))
        say(`is ${percent(error)} from the source, ${bound.reason} allow ${percent(bound.error)}`)
      else if (bound && !(alike >= bound.alike))
        say(`has a row that is not that of the source (their cosine is ${alike.toFixed(2)})`)
      else if (bound && !computed.has(name) && shifted > bound.shifted)
        say(
          `has rows that are moved as a whole (${percent(shifted)} of the difference to the source, ${bound.reason} allow ${percent(bound.shifted)}): its zeros may be those of another version`,
        )
    } catch (error) {
      if (!(error instanceof FormatError)) throw error
      found.unread++
      say(error.message)
    }
  }
  const same = computed.size
  const { compared, equal, unread, farthest: most, farthestName } = found
  const rest = compared < names.size ? `the ${compared} others` : 'all'
  const parts = [
    `${names.size - unread} of ${names.size} read, all finite`,
    ...(digests && digests.size > 0 ? [`${same} of ${digests.size} as they were computed`] : []),
    ...(compared === 0
      ? []
      : [
          equal === compared
            ? `${rest} equal to the source bit for bit`
            : `${rest} at most ${percent(most)} from the source (${printable(farthestName)})`,
        ]),
  ]
  const facts = {
    weights: names.size,
    read: names.size - unread,
    ...(digests && digests.size > 0 ? { digests: digests.size, same } : {}),
    ...(compared > 0 ? { compared, equal, farthest: most, farthestName } : {}),
  }
  return { check: checkOf('weights', faults, parts.join('; '), facts), read: unread === 0, computed }
}

const infoOf = ({ weights }: OpenModel, name: string) => weights.infos.get(name)!
const shapeOf = (open: OpenModel, name: string) => infoOf(open, name).shape

/** The weight of the source to compare with; what makes that impossible is said. */
function otherOf(
  source: OpenModel,
  name: string | undefined,
  shape: readonly number[],
  say: (what: string) => void,
): { weights: ModelWeights; name: string } | undefined {
  if (name === undefined) return void say('the source has no such weight')
  const other = shapeOf(source, name)
  if (other.length === shape.length && other.every((n, axis) => n === shape[axis]))
    return { weights: source.weights, name }
  return void say(`is [${shape.join(', ')}], of the source [${other.join(', ')}]`)
}

const percent = (share: number): string => `${(100 * share).toPrecision(3)}%`
