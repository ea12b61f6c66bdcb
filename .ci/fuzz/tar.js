/** Gzipped tars whose headers may lie: links, devices, sizes of any number, pax records, sparse files, names that lead out. */
import { gzipSync } from 'node:zlib'
import { damageBytes, edgeNumber, joinBytes } from './bytes.js'
import { names, numbers } from './hostile_values.js'

const encoder = new TextEncoder()

function blockOf({ name, content, type = '0', stated, prefix = '', link = '', number, sum }) {
  const header = new Uint8Array(512)
  const put = (text, at) => header.set(encoder.encode(text).subarray(0, 512 - at), at)
  header.set(name.subarray(0, 100), 0)
  put('0000644\x000000000\x000000000\x00', 100)
  put(number ?? `${(stated ?? BigInt(content.length)).toString(8).padStart(11, '0').slice(-12)}\0`, 124)
  if (number === undefined && stated !== undefined && stated >= 2n ** 33n) {
    header[124] = 0x80
    for (let i = 0; i < 11; i++) header[135 - i] = Number((stated >> BigInt(8 * i)) & 255n)
  }
  put('00000000000\x00', 136)
  put('        ', 148)
  put(type, 156)
  put(link, 157)
  put('ustar\x0000', 257)
  put(prefix, 345)
  const total = header.reduce((a, b) => a + b, 0) + (sum ?? 0)
  put(`${total.toString(8).padStart(6, '0')}\0 `, 148)
  return joinBytes(header, content, new Uint8Array((512 - (content.length % 512)) % 512))
}

/** One record of a pax header; its length counts itself. */
export function paxRecord(key, value) {
  const body = ` ${key}=${value}\n`
  let length = Buffer.byteLength(body) + 1
  while (String(length).length + Buffer.byteLength(body) !== length) length++
  return `${length}${body}`
}

export const tarEntriesOf = (contents) =>
  Object.entries(contents).map(([name, content]) => ({ name: encoder.encode(name), content }))

export const writeTar = (entries, ending = 1024) => joinBytes(...entries.map(blockOf), new Uint8Array(ending))

const one = (entries, random) => random.pick(entries)
const before = (entries, random, entry) => entries.splice(random.below(entries.length + 1), 0, entry)
const header = (type, text) => ({ name: encoder.encode('x'), content: encoder.encode(text), type })
const changes = [
  (entries, random) => {
    one(entries, random).name = encoder.encode(random.pick(names))
  },
  (entries, random) => {
    const entry = one(entries, random)
    entry.name = encoder.encode(
      `${random.pick(['../', '/', './', 'x/../', 'a//', '..\\'])}${Buffer.from(entry.name)}`,
    )
  },
  (entries, random) => {
    one(entries, random).type = random.pick([
      '\0',
      '1',
      '2',
      '3',
      '4',
      '5',
      '6',
      '7',
      'A',
      'D',
      'K',
      'L',
      'M',
      'S',
      'V',
      'g',
      'x',
      'X',
      'z',
    ])
  },
  (entries, random) => {
    const entry = one(entries, random)
    entry.stated = edgeNumber(random, entry.content.length)
  },
  (entries, random) => {
    one(entries, random).number = random.pick([
      '-1',
      ' 7 ',
      '9',
      '77777777777',
      '1 1',
      '',
      'x',
      '\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff',
      '\x80',
    ])
  },
  (entries, random) => {
    one(entries, random).link = random.pick(names)
  },
  (entries, random) => {
    one(entries, random).prefix = random.pick(names)
  },
  (entries, random) => {
    one(entries, random).sum = random.between(-2, 2)
  },
  (entries, random) => entries.push({ ...one(entries, random) }),
  (entries, random) => before(entries, random, header('x', paxRecord('path', random.pick(names)))),
  (entries, random) => before(entries, random, header('x', paxRecord('size', String(random.pick(numbers))))),
  (entries, random) =>
    before(
      entries,
      random,
      header('x', paxRecord(random.pick(['linkpath', 'GNU.sparse.major', 'hdrcharset', 'mtime', '']), 'x')),
    ),
  (entries, random) =>
    before(entries, random, header('g', paxRecord(random.pick(['path', 'size', 'comment']), '1'))),
  (entries, random) => before(entries, random, header('L', `${random.pick(names)}\0`)),
  (entries, random) =>
    before(
      entries,
      random,
      header(
        'x',
        random.pick([
          '',
          '5',
          '99999 path=x\n',
          '-1 path=x\n',
          '0 a=b\n',
          '1e1 path=\n',
          '6 a=b\n'.repeat(5000),
        ]),
      ),
    ),
  (entries, random) =>
    before(entries, random, { ...header(random.pick(['x', 'L', 'g']), 'x'), stated: random.pick(numbers) }),
  (entries, random) => {
    one(entries, random).content = new Uint8Array(random.pick([1 << 16, 1 << 20]))
  },
  (entries, random) => {
    for (let i = random.pick([10, 200]); i > 0; i--)
      before(entries, random, { name: encoder.encode(`package/${i}`), content: new Uint8Array(0) })
  },
  (entries, random) => entries.splice(random.below(entries.length), 1),
  (entries, random) =>
    before(entries, random, { name: encoder.encode('package/'), content: new Uint8Array(0), type: '5' }),
]

export function damageTar(entries, random) {
  const changed = entries.map((entry) => ({ ...entry }))
  for (let i = random.pick([0, 0, 1, 2]); i >= 0 && changed.length > 0; i--)
    random.pick(changes)(changed, random)
  const plain = writeTar(changed, random.pick([0, 512, 1024, 1024, 1024, 5000]))
  const packed = new Uint8Array(gzipSync(random.once(4) ? damageBytes(plain, random) : plain, { level: 1 }))
  return random.once(4) ? damageBytes(packed, random) : packed
}
