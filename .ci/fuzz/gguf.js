/** Damage to GGUF that knows its header: counts, lengths, types, arrays, alignments and offsets that lie one by one. */
import { damageBytes, edgeNumber, fixed, joinBytes } from './bytes.js'
import { names, numbers, texts } from './hostile_values.js'

const encoder = new TextEncoder()
const widths = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8]

/** The header as a list of fields that can be put together again; the data behind it as it is. */
export function partsOfGguf(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  let at = 4
  const take = (length) => {
    at += length
    return bytes.subarray(at - length, at)
  }
  const u32 = () => view.getUint32(take(4).byteOffset - bytes.byteOffset, true)
  const u64 = () => Number(view.getBigUint64(take(8).byteOffset - bytes.byteOffset, true))
  const string = () => take(u64())
  const version = u32()
  const [tensorCount, keyCount] = [u64(), u64()]
  const keys = Array.from({ length: keyCount }, () => {
    const key = string()
    const type = u32()
    if (type === 8) return { key, type, value: string() }
    if (type !== 9) return { key, type, value: take(widths[type]) }
    const element = u32()
    const count = u64()
    const items = Array.from({ length: count }, () => (element === 8 ? string() : take(widths[element])))
    return { key, type, element, count, items }
  })
  const tensors = Array.from({ length: tensorCount }, () => {
    const name = string()
    const axes = u32()
    const sizes = Array.from({ length: axes }, () => BigInt(u64()))
    return { name, axes, sizes, type: u32(), offset: BigInt(u64()) }
  })
  const alignment = 32
  return {
    version,
    tensorCount,
    keyCount,
    keys,
    tensors,
    data: bytes.subarray(Math.ceil(at / alignment) * alignment),
  }
}

const string = (bytes, stated = bytes.length) => [fixed(stated, 8), bytes]

export function assembleGguf({ version, tensorCount, keyCount, keys, tensors, data }, alignment = 32) {
  const header = joinBytes(
    encoder.encode('GGUF'),
    fixed(version, 4),
    fixed(tensorCount, 8),
    fixed(keyCount, 8),
    ...keys.flatMap(({ key, keyLength, type, value, valueLength, element, count, items }) => [
      ...string(key, keyLength),
      fixed(type, 4),
      ...(items
        ? [
            fixed(element, 4),
            fixed(count, 8),
            ...items.flatMap((item) => (element === 8 ? string(item) : [item])),
          ]
        : type === 8
          ? string(value, valueLength)
          : [value]),
    ]),
    ...tensors.flatMap(({ name, axes, sizes, type, offset }) => [
      ...string(name),
      fixed(axes, 4),
      ...sizes.map((size) => fixed(size, 8)),
      fixed(type, 4),
      fixed(offset, 8),
    ]),
  )
  return joinBytes(header, new Uint8Array((alignment - (header.length % alignment)) % alignment), data)
}

const keyOf = (parts, random) => random.pick(parts.keys)
const listOf = (parts, random) => {
  const lists = parts.keys.filter(({ items }) => items)
  return lists.length > 0 ? random.pick(lists) : undefined
}

const changes = [
  (parts, random) => {
    const field = keyOf(parts, random)
    if (field.items) field.count = edgeNumber(random, field.count)
    else if (field.type === 8) field.valueLength = edgeNumber(random, field.value.length)
    else field.value = fixed(random.pick(numbers), widths[field.type])
  },
  (parts, random) => {
    const field = keyOf(parts, random)
    if (!field.items && field.type !== 8)
      field.value = random.once(2)
        ? fixed(random.pick(numbers), widths[field.type])
        : field.value.map((b) => b ^ 1)
  },
  (parts, random) => {
    keyOf(parts, random).keyLength = edgeNumber(random, 10)
  },
  (parts, random) => {
    keyOf(parts, random).type = random.pick([0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 12, 13, 255, 2 ** 32 - 1])
  },
  // A value of another type that is whole in itself.
  (parts, random) => {
    const field = keyOf(parts, random)
    const type = random.pick([0, 4, 5, 6, 7, 8, 10, 11, 12])
    Object.assign(field, { type, items: undefined })
    field.value = type === 8 ? encoder.encode(texts(random)) : fixed(random.pick(numbers), widths[type])
    if (type === 7) field.value = Uint8Array.of(random.below(3))
  },
  (parts, random) => {
    const field = keyOf(parts, random)
    const element = random.pick([0, 4, 5, 6, 7, 8, 9, 10, 12])
    Object.assign(field, { type: 9, element })
    const count = random.pick([0, 1, 3, 100, 5000])
    field.items = Array.from({ length: count }, () =>
      element === 8
        ? encoder.encode(random.pick(['', 'a', 'b c', '▁', '\u0120']))
        : fixed(random.below(300), widths[element] ?? 0),
    )
    field.count = count
  },
  (parts, random) => {
    const field = listOf(parts, random)
    if (field) field.element = random.pick([0, 4, 5, 6, 7, 8, 9, 10, 12, 13, 99])
  },
  // Longer, shorter and repeated lists: vocabularies, scores and merges that do not fit each other.
  (parts, random) => {
    const field = listOf(parts, random)
    if (!field) return
    const at = random.below(field.items.length)
    if (random.once(3)) field.items = field.items.slice(0, at)
    else if (random.once(2))
      field.items = [...field.items, ...field.items.slice(at, at + random.pick([1, 10, 400]))]
    else if (field.element === 8 && field.items.length > 0)
      field.items = field.items.with(
        at,
        encoder.encode(
          random.once(2)
            ? texts(random)
            : random.pick(['', ' ', 'a b', 'a  b', 'a b c', '<0x00>', '<0xZZ>', '▁']),
        ),
      )
    else if (field.items.length > 0)
      field.items = field.items.with(at, fixed(random.pick(numbers), widths[field.element] ?? 4))
    field.count = field.items.length
  },
  (parts, random) => {
    const field = keyOf(parts, random)
    if (field.type === 8)
      field.value = encoder.encode(
        random.once(2)
          ? texts(random)
          : random.pick(['llama', 'gpt2', 'bert', 'default', 'qwen2', 'imatrix', '']),
      )
  },
  (parts, random) => {
    parts.keys.splice(random.below(parts.keys.length), 1)
    parts.keyCount = parts.keys.length
  },
  (parts, random) => {
    parts.keys.push(
      random.once(2)
        ? keyOf(parts, random)
        : { ...keyOf(parts, random), key: encoder.encode(random.pick(names)) },
    )
    parts.keyCount = parts.keys.length
  },
  (parts, random) => {
    parts.keys.push({
      key: encoder.encode('general.alignment'),
      type: 4,
      value: fixed(random.pick(numbers), 4),
    })
    parts.keyCount = parts.keys.length
  },
  (parts, random) => {
    if (random.once(2)) parts.keyCount = edgeNumber(random, parts.keyCount)
    else parts.tensorCount = edgeNumber(random, parts.tensorCount)
  },
  (parts, random) => {
    parts.version = random.pick([0, 1, 2, 3, 4, 0x03000000, 2 ** 32 - 1])
  },
  (parts, random) => {
    if (parts.tensors.length === 0) return
    const tensor = random.pick(parts.tensors)
    switch (random.below(7)) {
      case 0:
        tensor.axes = random.pick([0, 1, 2, 3, 4, 5, 255, 2 ** 32 - 1])
        break
      case 1:
        tensor.sizes = tensor.sizes.map((size) => (random.once(2) ? edgeNumber(random, Number(size)) : size))
        break
      case 2:
        tensor.type = random.pick([
          0,
          1,
          2,
          3,
          4,
          6,
          7,
          8,
          10,
          11,
          12,
          13,
          14,
          16,
          18,
          20,
          24,
          30,
          39,
          255,
          2 ** 32 - 1,
        ])
        break
      case 3:
        tensor.offset = edgeNumber(random, Number(tensor.offset))
        break
      case 4:
        tensor.name = random.once(2) ? encoder.encode(random.pick(names)) : random.pick(parts.tensors).name
        break
      case 5:
        tensor.sizes = tensor.sizes.toReversed()
        break
      default:
        tensor.sizes = random.pick([[], [0n, 2n ** 40n], [2n ** 40n, 0n], [32n], [1n, 1n, 1n, 32n]])
        tensor.axes = tensor.sizes.length
    }
  },
  (parts, random) => {
    parts.tensors.splice(random.below(parts.tensors.length), 1)
    parts.tensorCount = parts.tensors.length
  },
  (parts, random) => {
    parts.data = damageBytes(parts.data, random)
  },
]

export function damageGguf(bytes, random) {
  if (random.once(4)) return damageBytes(bytes, random)
  const parts = partsOfGguf(bytes)
  for (let i = random.pick([0, 0, 1, 2]); i >= 0 && parts.keys.length > 0; i--)
    random.pick(changes)(parts, random)
  return assembleGguf(parts, random.once(30) ? random.pick([1, 16, 64]) : 32)
}
