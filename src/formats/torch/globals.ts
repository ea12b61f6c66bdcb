/**
 * The names that a pickle may call, as a closed table, and what they make here: dictionaries and tensors. Nothing is
 * imported and nothing is run. Any other name refuses the file.
 */
import { printable } from '../../tensor/errors.ts'
import { damaged, elementCount } from '../archive.ts'
import {
  kindOf,
  type PickleDict,
  type PickleSequence,
  type PickleValue,
  type TorchTensor,
} from './pickle_values.ts'

/** Element types by the name of their storage class. Complex, quantised and 8-bit float types are not read. */
const storageTypes: Readonly<Record<string, { type: string; itemBytes: number }>> = {
  'torch.DoubleStorage': { type: 'F64', itemBytes: 8 },
  'torch.FloatStorage': { type: 'F32', itemBytes: 4 },
  'torch.HalfStorage': { type: 'F16', itemBytes: 2 },
  'torch.BFloat16Storage': { type: 'BF16', itemBytes: 2 },
  'torch.LongStorage': { type: 'I64', itemBytes: 8 },
  'torch.IntStorage': { type: 'I32', itemBytes: 4 },
  'torch.ShortStorage': { type: 'I16', itemBytes: 2 },
  'torch.CharStorage': { type: 'I8', itemBytes: 1 },
  'torch.ByteStorage': { type: 'U8', itemBytes: 1 },
  'torch.BoolStorage': { type: 'BOOL', itemBytes: 1 },
}

type Call = (file: string, args: readonly PickleValue[]) => PickleValue

const calls: Readonly<Record<string, Call>> = {
  'collections.OrderedDict': orderedDict,
  'torch._utils._rebuild_tensor': (file, args) => rebuildTensor(file, args, 4, 4),
  'torch._utils._rebuild_tensor_v2': (file, args) => rebuildTensor(file, args, 6, 7),
  'torch._utils._rebuild_parameter': rebuildParameter,
}

/** @throws FormatError that names what is not in the table. */
export function checkGlobal(file: string, name: string): void {
  if (Object.hasOwn(calls, name) || Object.hasOwn(storageTypes, name)) return
  throw damaged(
    file,
    `asks for ${printable(name)}, which Pare does not build; save the tensors alone (a state_dict), or as safetensors`,
    'PARE_E_TORCH_GLOBAL',
    { global: name },
  )
}

/** The element type of a storage class, or nothing for another name. */
export const storageType = (name: string): { type: string; itemBytes: number } | undefined =>
  Object.hasOwn(storageTypes, name) ? storageTypes[name] : undefined

/** What a call makes. @throws FormatError where the arguments do not fit. */
export function callGlobal(file: string, name: string, args: readonly PickleValue[]): PickleValue {
  if (Object.hasOwn(calls, name)) return calls[name]!(file, args)
  throw wrongArguments(file, name, args)
}

const wrongArguments = (file: string, name: string, args: readonly PickleValue[]) =>
  damaged(
    file,
    `calls ${name} with (${args.slice(0, 8).map(kindOf).join(', ')}), which does not fit; it is damaged`,
    'PARE_E_TORCH_PICKLE',
    { global: name },
  )

/** Empty, or with a list of pairs, as Python 2 wrote it. */
function orderedDict(file: string, args: readonly PickleValue[]): PickleDict {
  const wrong = () => wrongArguments(file, 'collections.OrderedDict', args)
  const entries = new Map<string | number, PickleValue>()
  if (args.length === 0) return { kind: 'dict', entries }
  const [pairs] = args
  if (args.length !== 1 || !isSequence(pairs)) throw wrong()
  for (const pair of pairs.items) {
    const [key, value] = isSequence(pair) && pair.items.length === 2 ? pair.items : []
    if (value === undefined || (typeof key !== 'string' && typeof key !== 'number')) throw wrong()
    entries.set(key, value)
  }
  return { kind: 'dict', entries }
}

const isSequence = (value: PickleValue | undefined): value is PickleSequence =>
  typeof value === 'object' && value !== null && (value.kind === 'list' || value.kind === 'tuple')

/** (tensor, requires_grad, hooks) */
function rebuildParameter(file: string, args: readonly PickleValue[]): PickleValue {
  const [tensor] = args
  if (args.length === 3 && typeof tensor === 'object' && tensor?.kind === 'tensor') return tensor
  throw wrongArguments(file, 'torch._utils._rebuild_parameter', args)
}

const mostAxes = 64

/** (storage, first element, shape, strides, then what does not concern the numbers) */
function rebuildTensor(
  file: string,
  args: readonly PickleValue[],
  fewest: number,
  most: number,
): TorchTensor {
  const wrong = () => wrongArguments(file, 'torch._utils._rebuild_tensor', args)
  const [of, offset, size, stride] = args
  if (args.length < fewest || args.length > most) throw wrong()
  if (typeof of !== 'object' || of === null || (of.kind !== 'storage' && of.kind !== 'view')) throw wrong()
  const shape = numbersOf(size)
  const strides = numbersOf(stride)
  if (!shape || !strides || shape.length !== strides.length || shape.length > mostAxes) throw wrong()
  if (!isIndex(offset)) throw wrong()
  const count = elementCount(shape)
  const last = shape.reduce((at, extent, axis) => at + (extent - 1) * strides[axis]!, offset)
  // A tensor repeated by strides of 0 could be any size; no file needs one larger than what it views.
  const inside = count === 0 ? offset <= of.count : last < of.count && count! <= of.count
  if (count === undefined || !inside) {
    throw damaged(
      file,
      `a tensor of shape [${shape}] with strides [${strides}] at element ${offset} does not lie in its storage of ${of.count}; the file is damaged`,
      'PARE_E_TORCH_TENSOR',
      { shape: String(shape), count: of.count },
    )
  }
  const [storage, start] = of.kind === 'view' ? [of.storage, of.start] : [of, 0]
  return { kind: 'tensor', storage, start: start + offset, shape, strides }
}

/** A whole number from 0. */
export const isIndex = (value: PickleValue | undefined): value is number =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= 0

function numbersOf(value: PickleValue | undefined): number[] | undefined {
  return isSequence(value) && value.items.every(isIndex) ? (value.items as number[]) : undefined
}
