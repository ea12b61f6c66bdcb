/** Damage to safetensors: to the header's JSON, to the numbers in it so that the file stays whole, and to the data. */
import { damageBytes, edgeNumber, fixed, joinBytes } from './bytes.js'
import { names, numbers } from './hostile_values.js'
import { damageJson } from './json.js'

const encoder = new TextEncoder()
const partsOf = (bytes) => {
  const length = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true))
  return { header: bytes.subarray(8, 8 + length), data: bytes.subarray(8 + length) }
}

/** @param stated length of the header that the file tells @default the true one */
const assemble = (header, data, stated = header.length) => joinBytes(fixed(stated, 8), header, data)

export function tensorsOf(bytes) {
  const { header, data } = partsOf(bytes)
  const { __metadata__: _, ...entries } = JSON.parse(Buffer.from(header).toString())
  return Object.entries(entries).map(
    ([
      name,
      {
        dtype,
        shape,
        data_offsets: [from, to],
      },
    ]) => ({
      name,
      dtype,
      shape,
      bytes: data.subarray(from, to),
    }),
  )
}

/** A file whose tensors follow each other again after a change of them. */
export function rewritten(tensors, metadata) {
  let at = 0
  const entries = tensors.map(({ name, dtype, shape, bytes }) => {
    const entry = [name, { dtype, shape, data_offsets: [at, at + bytes.length] }]
    at += bytes.length
    return entry
  })
  const body = entries.map(([name, entry]) => `${JSON.stringify(name)}:${JSON.stringify(entry)}`)
  if (metadata) body.push(`"__metadata__":${JSON.stringify(metadata)}`)
  return assemble(encoder.encode(`{${body.join(',')}}`), joinBytes(...tensors.map(({ bytes }) => bytes)))
}

const dtypes = [
  ['F64', 8],
  ['F32', 4],
  ['F16', 2],
  ['BF16', 2],
  ['I64', 8],
  ['I32', 4],
  ['U32', 4],
  ['I16', 2],
  ['U16', 2],
  ['I8', 1],
  ['U8', 1],
  ['BOOL', 1],
  ['F8_E4M3', 1],
  ['F8_E5M2', 1],
  ['F8_E8M0', 1],
  ['C64', 8],
  ['F4', 0.5],
  ['F6_E2M3', 0.75],
]
const large = [2 ** 20, 2 ** 31, 2 ** 32, 2 ** 40, 2 ** 52]

/** Tensors that the rules of the container allow, and that their model has no use for. */
const tensorChanges = [
  (tensors, random) => {
    const tensor = random.pick(tensors)
    tensor.shape = [...tensor.shape].reverse()
  },
  (tensors, random) => {
    const tensor = random.pick(tensors)
    const count = tensor.shape.reduce((a, b) => a * b, 1)
    tensor.shape = random.pick([
      [count],
      [1, count],
      [count, 1],
      [1, 1, count],
      [],
      [2, count / 2],
      [count / 4, 4],
    ])
  },
  // No bytes, and sizes beside the zero that nothing bounds.
  (tensors, random) => {
    const tensor = random.pick(tensors)
    tensor.shape = random.pick([
      [0],
      [0, random.pick(large)],
      [random.pick(large), 0],
      [0, 0],
      [random.pick(large), 0, 2],
    ])
    tensor.bytes = new Uint8Array(0)
  },
  (tensors, random) => {
    const tensor = random.pick(tensors)
    const [dtype, size] = random.pick(dtypes)
    const rest = tensor.shape.slice(0, -1).reduce((a, b) => a * b, 1)
    tensor.dtype = dtype
    tensor.shape = [...tensor.shape.slice(0, -1), Math.floor(tensor.bytes.length / size / Math.max(1, rest))]
  },
  (tensors, random) => {
    const tensor = random.pick(tensors)
    const axis = random.below(tensor.shape.length)
    if (tensor.shape.length === 0 || tensor.shape[axis] === 0) return
    const row = tensor.bytes.length / tensor.shape[axis]
    const size = random.pick([
      1,
      2,
      3,
      tensor.shape[axis] + 1,
      tensor.shape[axis] - 1,
      tensor.shape[axis] * 2,
    ])
    tensor.shape = tensor.shape.with(axis, size)
    const bytes = new Uint8Array(Math.min(1 << 16, row * size))
    bytes.set(tensor.bytes.subarray(0, bytes.length))
    tensor.bytes = bytes
  },
  (tensors, random) => tensors.splice(random.below(tensors.length), 1),
  (tensors, random) => {
    const { name, ...rest } = random.pick(tensors)
    const other = random.pick(tensors).name
    tensors.push({
      ...rest,
      name: random.pick([
        `${name}x`,
        `${name}.weight`,
        name.replace(
          /[^.]+$/,
          random.pick(['weight', 'scales', 'bias', 'qweight', 'codes', 'g_idx', 'compressed']),
        ),
        `${name.split('.')[0]}.${other}`,
        random.pick(names),
      ]),
    })
  },
  (tensors, random) => {
    const [a, b] = [random.pick(tensors), random.pick(tensors)]
    ;[a.name, b.name] = [b.name, a.name]
  },
  (tensors, random) => {
    const tensor = random.pick(tensors)
    const at = random.below(Math.max(1, tensor.bytes.length - 8)) & ~7
    const bytes = tensor.bytes.slice()
    bytes.set(fixed(random.pick(numbers), 8).subarray(0, Math.max(0, bytes.length - at)), at)
    tensor.bytes = bytes
  },
  (tensors, random) => {
    const tensor = random.pick(tensors)
    tensor.bytes = tensor.bytes.slice().fill(random.pick([0, 0xff, 0x7f, 0x80, 1]))
  },
  (tensors, random) => {
    const tensor = random.pick(tensors)
    const damaged = damageBytes(tensor.bytes, random)
    tensor.bytes = tensor.bytes.map((byte, i) => damaged[i] ?? byte)
  },
]

export function damageSafetensors(bytes, random) {
  const { header, data } = partsOf(bytes)
  switch (random.below(5)) {
    case 0:
      return damageBytes(bytes, random)
    case 1:
      return assemble(damageJson(header, random), data)
    case 2:
      return assemble(header, data, edgeNumber(random, header.length))
    default: {
      const tensors = tensorsOf(bytes)
      for (let i = random.below(3); i >= 0 && tensors.length > 0; i--)
        random.pick(tensorChanges)(tensors, random)
      return rewritten(tensors, { format: 'pt' })
    }
  }
}
