/** Damage to protocol buffers that knows fields and lengths: bombs, graphs in graphs, numbers of any width, files that lie elsewhere. */
import { damageBytes, edgeNumber, fixed, joinBytes, varint } from './bytes.js'
import { names, numbers, texts } from './hostile_values.js'

const encoder = new TextEncoder()

/** The fields of a message, or nothing where the bytes are none. What is in them is a message too where it reads as one. */
function fieldsOf(bytes, depth = 0) {
  const fields = []
  let at = 0
  const take = (length) => {
    at += length
    return bytes.subarray(at - length, at)
  }
  const number = () => {
    let [value, shift] = [0n, 0n]
    for (; at < bytes.length && shift < 70n; shift += 7n) {
      const byte = bytes[at++]
      value |= BigInt(byte & 127) << shift
      if (byte < 128) return value
    }
    return undefined
  }
  while (at < bytes.length) {
    const tag = number()
    if (tag === undefined || tag >> 3n === 0n || tag > 2n ** 12n) return undefined
    const [field, wire] = [Number(tag >> 3n), Number(tag & 7n)]
    if (wire === 0) {
      const value = number()
      if (value === undefined) return undefined
      fields.push({ field, wire, value })
    } else if (wire === 2) {
      const length = number()
      if (length === undefined || length > bytes.length - at) return undefined
      const content = take(Number(length))
      const inner = depth < 8 && content.length > 1 ? fieldsOf(content, depth + 1) : undefined
      fields.push(inner ? { field, wire, fields: inner } : { field, wire, bytes: content })
    } else if (wire === 1 || wire === 5) {
      const width = wire === 1 ? 8 : 4
      if (width > bytes.length - at) return undefined
      fields.push({ field, wire, bytes: take(width) })
    } else return undefined
  }
  return fields
}

const tagOf = ({ field, wire }) => varint((BigInt(field) << 3n) | BigInt(wire))
const contentOf = (part) => part.bytes ?? write(part.fields ?? [])
function write(fields) {
  return joinBytes(
    ...fields.flatMap((part) => {
      if (part.raw) return [part.raw]
      if (part.wire === 0) return [tagOf(part), varint(part.value)]
      const content = contentOf(part)
      return part.wire === 2
        ? [tagOf(part), varint(part.stated ?? content.length), content]
        : [tagOf(part), content]
    }),
  )
}

/** Each field with the list that it stands in. */
function placesOf(fields, places = []) {
  for (const part of fields) {
    places.push({ part, list: fields })
    if (part.fields) placesOf(part.fields, places)
  }
  return places
}

/** The same field with its content written out, so that no field stands in itself. */
const copyOf = (part) =>
  part.wire === 2 ? { ...part, fields: undefined, bytes: contentOf(part) } : { ...part }

/** A message in itself, `depth` times. */
function nested(part, field, depth) {
  let content = contentOf(part)
  for (let i = 0; i < depth; i++)
    content = joinBytes(tagOf({ field, wire: 2 }), varint(content.length), content)
  return content
}

const changes = [
  ({ part }, random) => {
    if (part.wire === 0) part.value = random.pick(numbers)
    else if (part.wire === 2) part.stated = edgeNumber(random, contentOf(part).length)
    else part.bytes = fixed(random.pick(numbers), part.bytes?.length ?? 4)
  },
  ({ part }, random) => {
    if (part.wire === 0)
      part.value = BigInt(random.pick([0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 16, 20, 21, 22, 23, 27]))
  },
  ({ part, list }) => list.splice(list.indexOf(part), 1),
  ({ part, list }, random) => {
    const copy = copyOf(part)
    for (let i = (copy.bytes?.length ?? 0) > 64 ? 1 : random.pick([1, 2, 200]); i > 0; i--) list.push(copy)
  },
  ({ part }, random) => {
    part.field = random.pick([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 20, 22, 25, 2 ** 29 - 1])
  },
  ({ part }, random) => {
    part.wire = random.pick([0, 1, 2, 3, 4, 5, 6, 7])
    if (part.wire === 0) part.value ??= random.pick(numbers)
    else part.bytes ??= part.fields ? undefined : new Uint8Array(random.pick([0, 4, 8]))
    if (part.wire !== 0 && !part.fields) part.bytes ??= new Uint8Array(0)
  },
  ({ part }, random) => {
    if (part.bytes && part.wire === 2)
      part.bytes = encoder.encode(random.once(2) ? random.pick(names) : texts(random))
  },
  ({ part }, random) => {
    if (part.bytes && part.wire === 2) part.bytes = damageBytes(part.bytes, random)
  },
  // Attributes hold graphs (6) of nodes (1) of attributes (5).
  ({ part }, random) => {
    if (part.fields)
      [part.bytes, part.fields] = [
        nested(part, random.pick([1, 5, 6, 7, 11]), random.pick([1, 5, 40, 1000])),
        undefined,
      ]
  },
  ({ part }, random, places) => {
    const other = random.pick(places).part
    if (part.wire === 2 && other.wire === 2) [part.bytes, part.fields] = [contentOf(other), undefined]
  },
  ({ list, part }, random, places) => list.splice(list.indexOf(part), 0, copyOf(random.pick(places).part)),
  // Packed numbers, and groups that are not closed.
  ({ list }, random) =>
    list.push({
      raw: joinBytes(
        tagOf({ field: random.pick([1, 4, 5, 7, 8, 10, 11]), wire: 2 }),
        varint(3000),
        new Uint8Array(3000).fill(random.pick([0, 1, 0x7f, 0x80, 0xff])),
      ),
    }),
  ({ list }, random) =>
    list.push({ raw: tagOf({ field: random.between(1, 30), wire: random.pick([3, 4]) }) }),
  ({ part }, random) => {
    if (part.wire === 2 && part.bytes && /^\d+$/.test(Buffer.from(part.bytes).toString('latin1')))
      part.bytes = encoder.encode(String(random.pick(numbers)))
  },
]

/** Damage to the message, whose fields stay readable for the most part. */
export function damageProtobuf(bytes, random) {
  const fields = random.once(4) ? undefined : fieldsOf(bytes)
  if (!fields) return damageBytes(bytes, random)
  for (let i = random.pick([0, 0, 1, 2, 4]); i >= 0 && fields.length > 0; i--) {
    const places = placesOf(fields)
    random.pick(changes)(random.pick(places), random, places)
  }
  return write(fields)
}
