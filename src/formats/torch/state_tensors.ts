/** The tensors inside of what a pickle holds, by the path of keys that leads to each. */
import { printable } from '../../tensor/errors.ts'
import { damaged } from '../archive.ts'
import type { PickleValue, TorchTensor } from './pickle_values.ts'

const deepest = 64
const longestName = 4096
/** Values looked at: a list inside of itself, or many times in another, has no end. */
const mostVisits = 300_000
/** Characters of all names together. */
const mostNameCharacters = 1 << 26

export interface TorchState {
  /** In the order of the pickle; keys and indices are joined by dots: `state_dict.layer1.0.weight`. */
  tensors: Map<string, TorchTensor>
  /** Numbers, texts and truths beside them. */
  scalars: Map<string, string | number | boolean | null>
}

/** @throws FormatError where two tensors have one name, or the value is nested without end. */
export function stateOf(file: string, root: PickleValue): TorchState {
  const tensors = new Map<string, TorchTensor>()
  const scalars: TorchState['scalars'] = new Map()
  let visits = 0
  let characters = 0

  const visit = (value: PickleValue, name: string, depth: number): void => {
    characters += name.length
    if (
      ++visits > mostVisits ||
      depth > deepest ||
      name.length > longestName ||
      characters > mostNameCharacters
    ) {
      throw damaged(
        file,
        'its values are nested too deep, too often or under names too long; it is damaged or hostile',
        'PARE_E_TORCH_NESTING',
      )
    }
    const under = (key: string | number) => (name === '' ? String(key) : `${name}.${key}`)
    if (typeof value === 'bigint') scalars.set(name, String(value))
    else if (typeof value !== 'object' || value === null) scalars.set(name, value)
    else if (value.kind === 'dict') {
      for (const [key, item] of value.entries) visit(item, under(key), depth + 1)
    } else if (value.kind === 'list' || value.kind === 'tuple') {
      for (const [i, item] of value.items.entries()) visit(item, under(i), depth + 1)
    } else if (value.kind === 'tensor') {
      const own = name === '' ? 'tensor' : name
      if (tensors.has(own)) {
        throw damaged(
          file,
          `two tensors have the name ${printable(own)}; it is damaged`,
          'PARE_E_TORCH_NESTING',
          { tensor: own },
        )
      }
      tensors.set(own, value)
    }
  }
  visit(root, '', 0)
  return { tensors, scalars }
}
