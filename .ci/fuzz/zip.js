/** Zip archives whose headers may lie: members with the same name or bytes, two sizes for one content, zip64 for nothing, links, bombs. */
import { crc32, deflateRawSync } from 'node:zlib'
import { damageBytes, edgeNumber, fixed, joinBytes } from './bytes.js'
import { names, numbers } from './hostile_values.js'

const encoder = new TextEncoder()

/** @param members name, content, and `packed` where it is deflated */
export const membersOf = (contents, packed = false) =>
  Object.entries(contents).map(([name, content]) => ({ name: encoder.encode(name), content, packed }))

/** A zip archive; what a member says of itself may differ in the two headers. */
export function writeZip(members, { zip64 = false, entries = members.length, comment = '', shift = 0 } = {}) {
  const locals = []
  const directory = []
  let at = 0
  for (const member of members) {
    const { name, content, packed, mode = 0, flags = 0x800, extra = new Uint8Array(0) } = member
    const data = member.data ?? (packed ? deflateRawSync(content) : content)
    const facts = {
      method: packed ? 8 : 0,
      crc: crc32(content),
      packed: data.length,
      bytes: content.length,
      ...member.lies,
    }
    const common = (own) =>
      joinBytes(
        fixed(20, 2),
        fixed(flags, 2),
        fixed(own.method, 2),
        fixed(0, 4),
        fixed(own.crc, 4),
        fixed(own.packed, 4),
        fixed(own.bytes, 4),
      )
    const localName = member.localName ?? name
    const local = joinBytes(
      fixed(0x04034b50, 4),
      common({ ...facts, ...member.localLies }),
      fixed(localName.length, 2),
      fixed(0, 2),
      localName,
    )
    const offset = member.offset ?? at
    const large = member.zip64
      ? joinBytes(fixed(1, 2), fixed(24, 2), fixed(facts.bytes, 8), fixed(facts.packed, 8), fixed(offset, 8))
      : extra
    const told = member.zip64 ? { ...facts, packed: 2 ** 32 - 1, bytes: 2 ** 32 - 1 } : facts
    directory.push(
      joinBytes(
        fixed(0x02014b50, 4),
        fixed(20, 2),
        common(told),
        fixed(name.length, 2),
        fixed(large.length, 2),
        fixed(0, 6),
        fixed(mode * 65_536, 4),
        fixed(member.zip64 ? 2 ** 32 - 1 : offset, 4),
        name,
        large,
      ),
    )
    if (member.noLocal) continue
    locals.push(local, data)
    at += local.length + data.length
  }
  const central = joinBytes(...directory)
  const [count, size, start] = zip64
    ? [0xffff, 2 ** 32 - 1, 2 ** 32 - 1]
    : [entries, central.length, at + shift]
  const end64 = zip64
    ? joinBytes(
        ...[fixed(0x06064b50, 4), fixed(44, 8), fixed(45, 2), fixed(45, 2), fixed(0, 8), fixed(entries, 8)],
        ...[fixed(entries, 8), fixed(central.length, 8), fixed(at + shift, 8)],
        ...[fixed(0x07064b50, 4), fixed(0, 4), fixed(at + central.length, 8), fixed(1, 4)],
      )
    : new Uint8Array(0)
  const text = encoder.encode(comment)
  const end = joinBytes(
    ...[fixed(0x06054b50, 4), fixed(0, 4), fixed(count, 2), fixed(count, 2)],
    ...[fixed(size, 4), fixed(start, 4), fixed(text.length, 2), text],
  )
  return joinBytes(...locals, central, end64, end)
}

const one = (members, random) => random.pick(members)
const changes = [
  (members, random) => {
    one(members, random).name = encoder.encode(random.pick(names))
  },
  (members, random) => {
    const member = one(members, random)
    const prefix = random.pick(['../', '/', './', 'x/../', 'a//', 'C:/', '..\\'])
    member.name = encoder.encode(`${prefix}${Buffer.from(member.name).toString()}`)
  },
  (members, random) => {
    one(members, random).localName = encoder.encode(random.pick(names))
  },
  (members, random) => members.push({ ...one(members, random) }),
  (members, random) => members.push({ ...one(members, random), noLocal: true, offset: 0 }),
  (members, random) => {
    one(members, random).lies = { [random.pick(['crc', 'packed', 'bytes', 'method'])]: random.pick(numbers) }
  },
  (members, random) => {
    const member = one(members, random)
    member.lies = { bytes: edgeNumber(random, member.content.length) }
  },
  (members, random) => {
    one(members, random).localLies = {
      [random.pick(['crc', 'packed', 'bytes', 'method'])]: random.pick(numbers),
    }
  },
  (members, random) => {
    one(members, random).offset = edgeNumber(random, 500)
  },
  (members, random) => {
    one(members, random).mode = random.pick([
      0o120777, 0o040755, 0o020666, 0o060666, 0o010666, 0o100644, 0o140000,
    ])
  },
  (members, random) => {
    one(members, random).flags = random.pick([0, 1, 8, 0x40, 0x800, 0x2000, 0xffff])
  },
  (members, random) => {
    one(members, random).zip64 = true
  },
  (members, random) => {
    const member = one(members, random)
    member.zip64 = true
    member.lies = { [random.pick(['packed', 'bytes'])]: random.pick(numbers) }
  },
  (members, random) => {
    one(members, random).extra = joinBytes(
      fixed(random.pick([1, 9, 0x7075]), 2),
      fixed(random.pick([0, 8, 24, 65_535]), 2),
      new Uint8Array(random.below(30)).fill(0xff),
    )
  },
  (members, random) => {
    const member = one(members, random)
    member.packed = !member.packed
  },
  // Zeros that pack a thousand to one.
  (members, random) => {
    Object.assign(one(members, random), {
      content: new Uint8Array(random.pick([1 << 16, 1 << 20])),
      packed: true,
    })
  },
  (members, random) => {
    const member = one(members, random)
    member.data = damageBytes(member.packed ? deflateRawSync(member.content) : member.content, random)
  },
  (members, random) => members.splice(random.below(members.length), 1),
  (members, random) => {
    for (let i = random.pick([10, 300]); i > 0; i--)
      members.push({ name: encoder.encode(`x/${i}`), content: new Uint8Array(0) })
  },
]

/** An archive of the members with lies in it, and damage to its bytes now and then. */
export function damageZip(members, random) {
  const changed = members.map((member) => ({ ...member }))
  for (let i = random.pick([0, 0, 1, 2]); i >= 0 && changed.length > 0; i--)
    random.pick(changes)(changed, random)
  const bytes = writeZip(changed, {
    zip64: random.once(6),
    ...(random.once(12) && { entries: random.pick([0, 1, changed.length + 1, 65_534, 65_535]) }),
    ...(random.once(12) && { comment: random.pick(['x', 'PK\x05\x06', 'x'.repeat(70_000)]) }),
    ...(random.once(12) && { shift: random.pick([-1, 1, 100, 2 ** 31]) }),
  })
  return random.once(3) ? damageBytes(bytes, random) : bytes
}
