/** Tensors of repeated layers as one line: those whose names differ in numbers alone, with one type and shape. */

export interface ListedTensor {
  readonly name: string
  readonly type: string
  readonly shape: readonly number[]
  readonly bytes: number
}

export interface TensorGroup {
  /** The name where there is one tensor, else with ranges: `model.layers.{0-29}.mlp.up_proj.weight`. */
  name: string
  type: string
  shape: readonly number[]
  /** Of all its tensors. */
  bytes: number
  count: number
}

/** Parts of a range that are written out. */
const MOST_RANGES = 4

/**
 * Groups in the order of their first tensors.
 *
 * @example groupTensors(tensors).map(({ name, count }) => `${name}: ${count}`)
 */
export function groupTensors(tensors: readonly ListedTensor[]): TensorGroup[] {
  const groups = new Map<string, { first: ListedTensor; members: string[][]; bytes: number }>()
  for (const tensor of tensors) {
    const parts = tensor.name.split('.')
    const numbers = parts.filter(isNumber)
    const key = JSON.stringify([parts.map((part) => (isNumber(part) ? 0 : part)), tensor.type, tensor.shape])
    const group = groups.get(key) ?? { first: tensor, members: [], bytes: 0 }
    group.members.push(numbers)
    group.bytes += tensor.bytes
    groups.set(key, group)
  }
  return [...groups.values()].map(({ first, members, bytes }) => ({
    name: members.length === 1 ? first.name : rangedName(first.name, members),
    type: first.type,
    shape: first.shape,
    bytes,
    count: members.length,
  }))
}

const isNumber = (part: string): boolean => /^\d{1,9}$/.test(part)

function rangedName(name: string, members: readonly string[][]): string {
  let place = 0
  return name
    .split('.')
    .map((part) => {
      if (!isNumber(part)) return part
      const values = [...new Set(members.map((numbers) => Number(numbers[place])))]
      place += 1
      return values.length === 1 ? part : `{${ranges(values)}}`
    })
    .join('.')
}

/** @example ranges([0, 1, 2, 5]) // '0-2,5' */
function ranges(values: readonly number[]): string {
  const runs: [number, number][] = []
  for (const value of values.toSorted((a, b) => a - b)) {
    const last = runs.at(-1)
    if (last && value === last[1] + 1) last[1] = value
    else runs.push([value, value])
  }
  const shown = runs.slice(0, MOST_RANGES).map(([from, to]) => (from === to ? `${from}` : `${from}-${to}`))
  return [...shown, ...(runs.length > MOST_RANGES ? ['...'] : [])].join(',')
}
